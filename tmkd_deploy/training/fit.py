"""The training loop of every model in this package."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from tmkd_deploy.errors import RequestError
from tmkd_deploy.events import Events, Task
from tmkd_deploy.training import distributed, memory
from tmkd_deploy.training.batches import Batch
from tmkd_deploy.training.checkpoint import Checkpoint
from tmkd_deploy.training.distributed import BatchShard
from tmkd_deploy.training.divergence import DivergenceDetector, StepResult
from tmkd_deploy.training.interruption import deferred_signals
from tmkd_deploy.training.randomness import derived_seed, generator
from tmkd_deploy.training.schedule import Schedule
from tmkd_deploy.training.step import Step, prepared
from tmkd_deploy.training.tracking import MetricWriter
from tmkd_deploy.training.trainer_config import TrainerConfig

_LOG_INTERVAL = 20
_MAX_GRADIENT_NORM = 5.0


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
    final_metrics: Callable[[], Mapping[str, float]] | None = None,
) -> None:
    """Minimise `loss_of` over shuffled batches of image indices.

    Args:
        parameters: the parameters to train.
        images: the number of training images.
        schedule: how long and how fast to train.
        loss_of: the loss of a step's whole batch, the same in every process.
        events: receives progress.
        description: the training in a few words; it also names the checkpoint.
        modules: everything that changes, buffers included; required for checkpoints and for
            several processes.
        prepare: makes the batch of a step; on a GPU it runs one step ahead in its own thread.
        terms: the terms of the last loss by name, detached, for the trackers.
        trainer_config: precision, checkpoints and trackers; by default float32 and neither.
        final_metrics: more metrics for the trackers, computed once at the end if there are any.

    Raises:
        RequestError: the loss or its gradient is no longer finite, or the loss explodes.
        EnvironmentProblem: out of memory.
        DataError: the checkpoint cannot be used.
        KeyboardInterrupt: on SIGINT or SIGTERM, after writing a checkpoint.
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
    training.start(events)
    tracking = training.trainer_config.tracking
    metrics = tracking.start(description, training.steps_done)
    remaining = schedule.epochs * images - training.steps_done * schedule.batch_size
    task = events.begin(description, remaining, "images")
    try:
        training.run(task, metrics)
        if final_metrics is not None and tracking.trackers:
            metrics.log(training.steps, final_metrics())
    finally:
        task.finish()
        metrics.close()
    # later random numbers must not depend on the step this training was resumed from
    torch.manual_seed(derived_seed(schedule.seed, "after"))


class _Training:
    """The state of one running training."""

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
        self.optimizer = schedule.new_optimizer(trained)
        half = trainer_config.dtype(self.device) is torch.float16
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=half)
        self.steps = schedule.epochs * schedule.steps_per_epoch(images)
        self.detector = DivergenceDetector(description, self.steps, self.device)
        self.steps_done = 0
        self.steps_saved: int | None = None
        self.checkpoint: Checkpoint | None = None
        self._last_log = time.monotonic(), 0

    def start(self, events: Events) -> None:
        """Resume from a checkpoint if there is one; give every process the same state."""
        if self.trainer_config.checkpoints and self.modules:
            self.checkpoint = self.trainer_config.checkpoints.for_training(self.description)
            state = self.checkpoint.read()
            if state is not None:
                self.checkpoint.restore(self._load_state, state)
                events.say(
                    f"{self.description}: resuming from step {self.steps_done} of {self.steps}, "
                    f"checkpoint {self.checkpoint.path}."
                )
        self._last_log = time.monotonic(), self.steps_done
        distributed.require_same(self.steps_done, "the step to resume from")
        for module in self.modules:
            distributed.broadcast([*module.parameters(), *module.buffers()])

    def run(self, task: Task, metrics: MetricWriter) -> None:
        """Run all remaining steps."""
        try:
            self._run_remaining(task, metrics)
            return
        except RequestError as error:
            raise self._with_checkpoint(error) from error
        except (RuntimeError, MemoryError) as error:
            if not memory.is_exhausted(error):
                raise
        # outside the handler, whose traceback keeps the failed step's tensors alive
        raise memory.out_of_memory(
            self.description,
            min(self.schedule.batch_size, self.images),
            self.device,
            self._try_step if distributed.world_size() == 1 else None,
        )

    def _run_remaining(self, task: Task, metrics: MetricWriter) -> None:
        steps = (
            self._step(number, epoch, indices)
            for number, epoch, indices in self.schedule.batches(self.images, self.steps_done)
        )
        batches = prepared(steps, self.prepare, self.device)
        with deferred_signals() as interruption, closing(batches):
            for step in batches:
                self._log(self._train_step(step), task, metrics)
                self.steps_done = step.number + 1
                if self.checkpoint and (
                    interruption.requested or self.checkpoint.is_due(self.steps_done)
                ):
                    self._log(self.detector.check(), task, metrics)
                    self._save(self.checkpoint)
                if interruption.requested:
                    raise KeyboardInterrupt
            self._log(self.detector.check(), task, metrics)
            if self.checkpoint and self.steps_saved != self.steps_done:
                self._save(self.checkpoint)

    def _step(self, number: int, epoch: int, indices: Tensor) -> Step:
        random = generator(self.schedule.seed, "step", number)
        return Step(epoch, indices, random, number, BatchShard.of(len(indices)))

    def _train_step(self, step: Step) -> list[StepResult]:
        """Run one step and return the steps whose loss has been checked by now."""
        torch.manual_seed(
            derived_seed(self.schedule.seed, "dropout", step.number, distributed.rank())
        )
        rate = self.schedule.learning_rate_at(step.number, self.steps)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.optimizer.zero_grad(set_to_none=True)
        loss = self.loss_of(step)
        self.scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
        distributed.average_gradients(self.trained)
        self.scaler.unscale_(self.optimizer)
        norm = self._clip_gradients()
        terms = dict(self.terms())
        result = StepResult(step.number, step.epoch, len(step.indices), loss.detach(), norm, terms)
        checked = self.detector.update(result)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        return checked

    def _clip_gradients(self) -> Tensor | None:
        """The gradient norm; None in float16, where the scaler skips steps that overflow."""
        limit = _MAX_GRADIENT_NORM if self.schedule.optimizer == "adamw" else math.inf
        norm = nn.utils.clip_grad_norm_(self.trained, limit)
        return None if self.scaler.is_enabled() else norm

    def _try_step(self, images: int) -> None:
        """Run a step with the first `images` images, to see whether it fits into memory."""
        step = self._step(self.steps_done, 0, torch.arange(images))
        self._train_step(replace(step, batch=self.prepare(step) if self.prepare else None))

    def _log(self, checked: list[StepResult], task: Task, metrics: MetricWriter) -> None:
        for result in checked:
            loss, terms = result.values()
            task.advance(result.images, loss=loss)
            steps = result.number + 1
            if steps % _LOG_INTERVAL == 0 or steps == self.steps:
                last_time, last_steps = self._last_log
                seconds = time.monotonic() - last_time
                speed = (steps - last_steps) * self.schedule.batch_size / seconds
                self._last_log = time.monotonic(), steps
                rate = self.schedule.learning_rate_at(result.number, self.steps)
                by_term = {f"term/{name}": term for name, term in terms.items()}
                overall = {"loss": loss, "learning_rate": rate, "images_per_second": speed}
                metrics.log(steps, {**overall, **by_term})

    def _save(self, checkpoint: Checkpoint) -> None:
        checkpoint.write(
            {
                "steps_done": self.steps_done,
                "modules": [module.state_dict() for module in self.modules],
                "optimizer": self.optimizer.state_dict(),
                "scaler": self.scaler.state_dict(),
                "divergence": self.detector.state(),
            }
        )
        self.steps_saved = self.steps_done

    def _load_state(self, state: dict[str, Any]) -> None:
        for module, saved in zip(self.modules, state["modules"], strict=True):
            module.load_state_dict(saved)
        self.optimizer.load_state_dict(state["optimizer"])
        if self.scaler.is_enabled():
            self.scaler.load_state_dict(state["scaler"])
        self.detector.load_state(state["divergence"])
        self.steps_done = self.steps_saved = int(state["steps_done"])

    def _with_checkpoint(self, error: RequestError) -> RequestError:
        """`error` with a hint to the last checkpoint, if there is one."""
        if self.checkpoint is None or self.steps_saved is None:
            return error
        advice = f"{error.advice} The checkpoint holds the weights after step {self.steps_saved}."
        return RequestError(error.problem, advice=advice, where=str(self.checkpoint.path))
