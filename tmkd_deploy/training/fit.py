"""One training loop for every model that is trained here."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from tmkd_deploy.errors import RequestError
from tmkd_deploy.events import Events, Task
from tmkd_deploy.training import memory, processes
from tmkd_deploy.training.batches import Batch, to_float
from tmkd_deploy.training.checkpoint import Checkpoint
from tmkd_deploy.training.divergence import DivergenceDetector, StepResult
from tmkd_deploy.training.interruption import held_back
from tmkd_deploy.training.processes import Share, training_device
from tmkd_deploy.training.randomness import derived_seed, generator
from tmkd_deploy.training.schedule import Schedule, shuffled
from tmkd_deploy.training.tracking import Track
from tmkd_deploy.training.trainer_config import TrainerConfig

__all__ = ["Schedule", "Step", "batch_of", "fit", "predict", "shuffled", "training_device"]

_STEPS_BETWEEN_SCALARS = 20
_LARGEST_NORM = 5.0


@dataclass(frozen=True)
class Step:
    """What a loss function is told.

    `indices` are the images of the whole batch and `share` the rows of it that this process runs;
    `random` gives the same numbers in every process. `batch` is what `prepare` made of the step.
    """

    epoch: int
    indices: Tensor
    random: torch.Generator
    number: int
    share: Share
    batch: Batch | None = None


def batch_of(step: Step) -> Batch:
    """The batch of a step that was prepared."""
    if step.batch is None:
        raise AssertionError("fit was not told how to prepare a batch")
    return step.batch


def fit(
    parameters: Iterable[nn.Parameter],
    images: int,
    schedule: Schedule,
    loss_of: Callable[[Step], Tensor],
    events: Events,
    description: str,
    *,
    modules: Sequence[nn.Module] = (),
    prepare: Callable[[Step], Batch] | None = None,
    terms: Callable[[], Mapping[str, Tensor]] = dict,
    trainer_config: TrainerConfig | None = None,
    at_end: Callable[[], Mapping[str, float]] | None = None,
) -> None:
    """Minimise `loss_of` over shuffled batches of image indices.

    Args:
        parameters: what is trained.
        images: how many there are.
        schedule: how long and how fast.
        loss_of: the loss of the whole batch of a step, the same in every process.
        events: who listens.
        description: the training in a few words; it names the checkpoint.
        modules: hold all that changes, buffers included; needed for checkpoints and several
            processes.
        prepare: makes the batch of a step; it runs one step ahead in a thread of its own.
        terms: the parts of the last loss by name, detached, for the tracker.
        conduct: precision, checkpoints and trackers; plain float32 and none by default.
        at_end: more figures for the trackers, asked for once and only where there are any.

    Raises:
        RequestError: the loss or its gradient is no longer a number, or the loss explodes.
        EnvironmentProblem: the memory is used up.
        DataError: the checkpoint cannot be used.
        KeyboardInterrupt: somebody asked for it; a checkpoint is left behind.
    """
    trained = [parameter for parameter in parameters if parameter.requires_grad]
    training = _Training(
        trained,
        images,
        schedule,
        loss_of,
        description,
        modules,
        prepare,
        terms,
        trainer_config or TrainerConfig(),
    )
    training.begin(events)
    track = training.trainer_config.tracking.begin(description, training.done)
    left = schedule.epochs * images - training.done * schedule.batch_size
    task = events.begin(description, left, "images")
    try:
        training.run(task, track)
        if at_end is not None and training.trainer_config.tracking.trackers:
            track.scalars(training.steps, at_end())
    finally:
        task.finish()
        track.close()
    # whatever is drawn next does not depend on where this training began
    torch.manual_seed(derived_seed(schedule.seed, "after"))


class _Training:
    """One training under way."""

    def __init__(
        self,
        trained: list[nn.Parameter],
        images: int,
        schedule: Schedule,
        loss_of: Callable[[Step], Tensor],
        description: str,
        modules: Sequence[nn.Module],
        prepare: Callable[[Step], Batch] | None,
        terms: Callable[[], Mapping[str, Tensor]],
        trainer_config: TrainerConfig,
    ) -> None:
        self.trained = trained
        self.images = images
        self.schedule = schedule
        self.loss_of = loss_of
        self.description = description
        self.modules = modules
        self.prepare = prepare
        self.terms = terms
        self.trainer_config = trainer_config
        self.device = trained[0].device
        self.optimizer = schedule.optimizer_of(trained)
        half = trainer_config.dtype(self.device) is torch.float16
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=half)
        self.steps = schedule.epochs * schedule.steps_per_epoch(images)
        self.watch = DivergenceDetector(description, self.steps, self.device)
        self.done = 0
        self.kept: int | None = None
        self.checkpoint: Checkpoint | None = None
        self._told_at = time.monotonic(), 0

    def begin(self, events: Events) -> None:
        """Go on from the checkpoint where there is one; start alike in every process."""
        if self.trainer_config.checkpoints and self.modules:
            self.checkpoint = self.trainer_config.checkpoints.of(self.description)
            state = self.checkpoint.read()
            if state is not None:
                self.checkpoint.restore(self._load, state)
                events.say(
                    f"{self.description} goes on from step {self.done} of {self.steps}, as kept in "
                    f"{self.checkpoint.path}."
                )
        self._told_at = time.monotonic(), self.done
        processes.agree_on(self.done, "the step to go on from")
        for module in self.modules:
            processes.from_first([*module.parameters(), *module.buffers()])

    def run(self, task: Task, track: Track) -> None:
        """All steps that are left."""
        try:
            self._steps_left(task, track)
            return
        except RequestError as error:
            raise self._naming_the_checkpoint(error) from error
        except (RuntimeError, MemoryError) as error:
            if not memory.is_exhausted(error):
                raise
        # outside the handler, which held on to all that the step had made
        raise memory.explained(
            self.description,
            min(self.schedule.batch_size, self.images),
            self.device,
            self._attempt if processes.world() == 1 else None,
        )

    def _steps_left(self, task: Task, track: Track) -> None:
        steps = (
            self._step(number, epoch, indices)
            for number, epoch, indices in self.schedule.batches(self.images, self.done)
        )
        if self.prepare and self.device.type == "cuda":
            batches = _ahead(steps, self.prepare)
        else:
            batches = _in_turn(steps, self.prepare)
        with held_back() as interruption, closing(batches) as prepared:
            for step in prepared:
                self._tell(self._take(step), task, track)
                self.done = step.number + 1
                if self.checkpoint and (interruption.asked or self.checkpoint.is_due(self.done)):
                    self._tell(self.watch.look(), task, track)
                    self._keep(self.checkpoint)
                if interruption.asked:
                    raise KeyboardInterrupt
            self._tell(self.watch.look(), task, track)
            if self.checkpoint and self.kept != self.done:
                self._keep(self.checkpoint)

    def _step(self, number: int, epoch: int, indices: Tensor) -> Step:
        random = generator(self.schedule.seed, "step", number)
        return Step(epoch, indices, random, number, Share.of(len(indices)))

    def _take(self, step: Step) -> list[StepResult]:
        """One step; the steps whose loss is known now."""
        torch.manual_seed(
            derived_seed(self.schedule.seed, "dropout", step.number, processes.rank())
        )
        rate = self.schedule.learning_rate_at(step.number, self.steps)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.optimizer.zero_grad(set_to_none=True)
        loss = self.loss_of(step)
        self.scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
        processes.average_gradients(self.trained)
        self.scaler.unscale_(self.optimizer)
        norm = self._clip()
        terms = dict(self.terms())
        seen = StepResult(step.number, step.epoch, len(step.indices), loss.detach(), norm, terms)
        looked = self.watch.see(seen)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        return looked

    def _clip(self) -> Tensor | None:
        """The gradient's norm; None in float16, where the scaler skips a step that overflows."""
        limit = _LARGEST_NORM if self.schedule.optimizer == "adamw" else math.inf
        norm = nn.utils.clip_grad_norm_(self.trained, limit)
        return None if self.scaler.is_enabled() else norm

    def _attempt(self, images: int) -> None:
        """A step with the first `images` images, to see whether the memory suffices."""
        step = self._step(self.done, 0, torch.arange(images))
        self._take(replace(step, batch=self.prepare(step) if self.prepare else None))

    def _tell(self, looked: list[StepResult], task: Task, track: Track) -> None:
        for seen in looked:
            loss, terms = seen.values()
            task.advance(seen.images, loss=loss)
            steps = seen.number + 1
            if steps % _STEPS_BETWEEN_SCALARS == 0 or steps == self.steps:
                seconds = time.monotonic() - self._told_at[0]
                speed = (steps - self._told_at[1]) * self.schedule.batch_size / seconds
                self._told_at = time.monotonic(), steps
                rate = self.schedule.learning_rate_at(seen.number, self.steps)
                named = {f"term/{name}": term for name, term in terms.items()}
                figures = {"loss": loss, "learning_rate": rate, "images_per_second": speed}
                track.scalars(steps, {**figures, **named})

    def _keep(self, checkpoint: Checkpoint) -> None:
        checkpoint.write(
            {
                "steps_done": self.done,
                "modules": [module.state_dict() for module in self.modules],
                "optimizer": self.optimizer.state_dict(),
                "scaler": self.scaler.state_dict(),
                "watch": self.watch.state(),
            }
        )
        self.kept = self.done

    def _load(self, state: dict[str, Any]) -> None:
        for module, kept in zip(self.modules, state["modules"], strict=True):
            module.load_state_dict(kept)
        self.optimizer.load_state_dict(state["optimizer"])
        if self.scaler.is_enabled():
            self.scaler.load_state_dict(state["scaler"])
        self.watch.resume(state["watch"])
        self.done = self.kept = int(state["steps_done"])

    def _naming_the_checkpoint(self, error: RequestError) -> RequestError:
        if self.checkpoint is None or self.kept is None:
            return error
        advice = f"{error.advice} The weights after step {self.kept} are kept."
        return RequestError(error.problem, advice=advice, where=str(self.checkpoint.path))


def predict(
    model: nn.Module, images: np.ndarray | Tensor, device: torch.device, batch_size: int = 64
) -> Tensor:
    """Logits [N, C] (float32, on the CPU) of a model that returns logits and features."""
    model.eval()
    with torch.inference_mode():
        parts = [
            model(to_float(images[start : start + batch_size], None, device))[0].float().cpu()
            for start in range(0, len(images), batch_size)
        ]
    return torch.cat(parts)


def _in_turn(
    steps: Iterator[Step], prepare: Callable[[Step], Batch] | None
) -> Generator[Step, None, None]:
    """Each step with its batch: on a CPU a second thread would take cores from the step at work."""
    for step in steps:
        yield replace(step, batch=prepare(step)) if prepare else step


def _ahead(steps: Iterator[Step], prepare: Callable[[Step], Batch]) -> Generator[Step, None, None]:
    """Each step with its batch, which is made while the GPU is at the step before it."""

    def with_batch(step: Step) -> Step:
        return replace(step, batch=prepare(step))

    waiting: Future[Step] | None = None
    with ThreadPoolExecutor(1) as thread:
        for step in steps:
            begun = thread.submit(with_batch, step)
            if waiting is not None:
                yield waiting.result()
            waiting = begun
        if waiting is not None:
            yield waiting.result()
