"""The training loop of every model in this package."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from typing import TYPE_CHECKING, Any

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

if TYPE_CHECKING:
    from tmkd_deploy.records.training import TrainingCurve
    from tmkd_deploy.training.best_epoch import BestEpoch, Validation

_LOG_INTERVAL = 20
_MAX_GRADIENT_NORM = 5.0
_STEPS_BETWEEN_QUESTIONS = 10


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
    validation: Validation | None = None,
) -> TrainingCurve | None:
    """Minimise `loss_of` over shuffled batches of image indices.

    With `validation`, `modules` end with the weights that its settings choose, and the training's
    curve is returned.

    Args:
        parameters: the parameters to train.
        images: the number of training images.
        schedule: how long and how fast to train.
        loss_of: the loss of a step's whole batch, the same in every process.
        events: receives progress.
        description: the training in a few words; it also names the checkpoint.
        modules: everything that changes, buffers included; required for checkpoints, for several
            processes and for `validation`.
        prepare: makes the batch of a step; on a GPU it runs one step ahead in its own thread.
        terms: the terms of the last loss by name, detached, for the trackers.
        trainer_config: precision, checkpoints and trackers; by default float32 and neither.
        final_metrics: more metrics for the trackers, computed once at the end if there are any.
        validation: the split to evaluate the model on at the end of an epoch.

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
        validation,
    )
    training.start(events)
    tracking = training.trainer_config.tracking
    metrics = tracking.start(description, training.steps_done)
    remaining = schedule.epochs * images - training.steps_done * schedule.batch_size
    task = events.begin(description, remaining, "images")
    try:
        training.run(task, metrics)
        curve = training.best_epoch.finish() if training.best_epoch else None
        if final_metrics is not None and tracking.trackers:
            metrics.log(training.steps, final_metrics())
    finally:
        task.finish()
        metrics.close()
    # later random numbers must not depend on the step this training was resumed from
    torch.manual_seed(derived_seed(schedule.seed, "after"))
    if curve is not None:
        events.say(f"{description}: {curve.choice}")
    return curve


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
        validation: Validation | None,
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
        self.validation = validation
        self.device = trained[0].device
        self.optimizer = schedule.new_optimizer(trained)
        if self.device.type == "cuda":  # all batches but the last have one shape
            torch.backends.cudnn.benchmark = True
        half = trainer_config.dtype(self.device) is torch.float16
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=half)
        self.steps_per_epoch = schedule.steps_per_epoch(images)
        self.steps = schedule.epochs * self.steps_per_epoch
        self.detector = DivergenceDetector(description, self.steps, self.device)
        self.steps_done = 0
        self.steps_saved: int | None = None
        self.checkpoint: Checkpoint | None = None
        self.best_epoch: BestEpoch | None = None
        self._last_log = time.monotonic(), 0

    def start(self, events: Events) -> None:
        """Resume from a checkpoint if there is one; give every process the same state."""
        state = None
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
        if self.validation:
            # records need pydantic; a training without validation needs torch alone
            from tmkd_deploy.training.best_epoch import BestEpoch  # noqa: PLC0415

            epochs = self.schedule.epochs
            self.best_epoch = BestEpoch(
                self.validation, self.modules, self.images, epochs, self.device
            )
            if self.checkpoint and state is not None:
                self.checkpoint.restore(self.best_epoch.load_state, state["best_epoch"])

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
            # a training that had stopped early when it was interrupted does not go on
            for step in batches if not self._stops() else ():
                self._log(self._train_step(step), task, metrics)
                self.steps_done = step.number + 1
                if self.best_epoch:
                    self._validate(self.best_epoch, task, metrics)
                interrupted = self._is_interrupted(interruption.requested)
                if self.checkpoint and (interrupted or self.checkpoint.is_due(self.steps_done)):
                    self._log(self.detector.check(), task, metrics)
                    self._save(self.checkpoint)
                if interrupted:
                    raise KeyboardInterrupt
                if self._stops():
                    break
            self._log(self.detector.check(), task, metrics)
            if self.checkpoint and self.steps_saved != self.steps_done:
                self._save(self.checkpoint)

    def _is_interrupted(self, here: bool) -> bool:
        """Whether to stop after this step.

        A signal reaches several processes at different steps, and one that left would fail the
        others before the checkpoint is written. So they ask each other, at some of the steps.
        """
        if distributed.world_size() > 1 and self.steps_done % _STEPS_BETWEEN_QUESTIONS:
            return False
        return distributed.in_any_process(here)

    def _stops(self) -> bool:
        return self.best_epoch is not None and self.best_epoch.stops

    def _validate(self, best_epoch: BestEpoch, task: Task, metrics: MetricWriter) -> None:
        """Take in the step that was done and, if an epoch ends with it, the epoch."""
        best_epoch.after_step(self.steps_done)
        epoch, rest = divmod(self.steps_done, self.steps_per_epoch)
        if rest:
            return
        self._log(self.detector.check(), task, metrics)
        found = best_epoch.after_epoch(epoch)
        values = {"validation/top1": found.top1, "validation/nll": found.nll}
        known = {name: value for name, value in values.items() if value is not None}
        if known:
            metrics.log(self.steps_done, known)

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
            if self.best_epoch:
                self.best_epoch.add_loss(result.images, loss)
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
                "best_epoch": self.best_epoch.state() if self.best_epoch else None,
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
