"""Training one student, with teachers or alone, whatever the model and the data are."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn

from tmkd_deploy.distill.losses.total import StudentLoss, TeacherOutputs
from tmkd_deploy.distill.teacher_outputs import TeacherOutputSource
from tmkd_deploy.events import Events
from tmkd_deploy.training.batches import TrainingImages
from tmkd_deploy.training.fit import Schedule, Step, batch_of, fit
from tmkd_deploy.training.trainer_config import TrainerConfig


def train_student(
    student: nn.Module,
    loss: StudentLoss,
    data: TrainingImages,
    teacher_outputs: TeacherOutputSource | None,
    schedule: Schedule,
    device: torch.device,
    events: Events,
    description: str,
    *,
    trainer_config: TrainerConfig | None = None,
    epochs_before: int = 0,
    in_epoch: Callable[[int], object] | None = None,
    at_end: Callable[[], Mapping[str, float]] | None = None,
) -> None:
    """Minimise `loss` over `data`; without `signals` the student learns from the labels alone.

    `student` maps images [n, 3, H, W] in [0, 1] to logits [n, C] and features [n, D]. It and `loss`
    are on `device` already. The loss counts its epochs from `epochs_before`; `in_epoch` is told the
    epoch in every step, once the student is in training mode. `at_end` gives more figures for the
    trackers.
    """
    trainer_config = trainer_config or TrainerConfig()
    with trainer_config.running(student, device) as run:

        def loss_of(step: Step) -> Tensor:
            student.train()
            if in_epoch is not None:
                in_epoch(step.epoch)
            batch, whole = batch_of(step), step.share.whole
            logits, features = run(batch.images, step.share)
            told = teacher_outputs.of(batch) if teacher_outputs else None
            if told is not None:
                told = TeacherOutputs(whole(told.logits), whole(told.features))
            epoch = epochs_before + step.epoch
            value: Tensor = loss(logits, features, whole(batch.labels), told, epoch)
            return value

        fit(
            [*student.parameters(), *loss.parameters()],
            len(data),
            schedule,
            loss_of,
            events,
            description,
            modules=[student, loss],
            prepare=lambda step: data.batch(step.indices, step.random, device, step.share.rows),
            terms=lambda: loss.terms,
            trainer_config=trainer_config,
            at_end=at_end,
        )
