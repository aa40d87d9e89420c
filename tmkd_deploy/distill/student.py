"""Training one student, with or without teachers, independent of model and data."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from tmkd_deploy.distill.losses.total import StudentLoss, TeacherOutputs
from tmkd_deploy.distill.teacher_outputs import TeacherOutputSource
from tmkd_deploy.events import Events
from tmkd_deploy.training.batches import TrainingImages
from tmkd_deploy.training.fit import fit
from tmkd_deploy.training.schedule import Schedule
from tmkd_deploy.training.step import Step, batch_of
from tmkd_deploy.training.trainer_config import TrainerConfig

if TYPE_CHECKING:
    from tmkd_deploy.records.training import TrainingCurve
    from tmkd_deploy.training.best_epoch import Validation


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
    epoch_offset: int = 0,
    on_epoch: Callable[[int], object] | None = None,
    final_metrics: Callable[[], Mapping[str, float]] | None = None,
    validation: Validation | None = None,
) -> TrainingCurve | None:
    """Minimise `loss` over `data`; without `teacher_outputs` on the labels only.

    Args:
        student: maps images [n, 3, H, W] in [0, 1] to logits [n, C] and features [n, D]; already on
            `device`.
        loss: already on `device`.
        data: the training images.
        teacher_outputs: where each batch gets the teachers' outputs from.
        schedule: how long and how fast to train.
        device: the device to train on.
        events: receives progress.
        description: names the training in progress, messages and checkpoints.
        trainer_config: precision, checkpoints and trackers.
        epoch_offset: added to the epoch that the loss sees.
        on_epoch: called with the epoch at every step, after the student enters training mode.
        final_metrics: more metrics for the trackers, computed after the last step.
        validation: the split to evaluate the student on, and which of its weights are kept.
    """
    trainer_config = trainer_config or TrainerConfig()
    with trainer_config.distributed_forward(student, device) as forward:

        def loss_of(step: Step) -> Tensor:
            student.train()
            if on_epoch is not None:
                on_epoch(step.epoch)
            batch, gather = batch_of(step), step.shard.gather
            logits, features = forward(batch.images, step.shard)
            teacher = teacher_outputs.for_batch(batch) if teacher_outputs else None
            if teacher is not None:
                teacher = TeacherOutputs(gather(teacher.logits), gather(teacher.features))
            epoch = epoch_offset + step.epoch
            mixed_in = batch.mixed_in
            if mixed_in is not None:
                mixed_in = replace(mixed_in, labels=gather(mixed_in.labels))
            value: Tensor = loss(logits, features, gather(batch.labels), teacher, epoch, mixed_in)
            return value

        return fit(
            [*student.parameters(), *loss.parameters()],
            len(data),
            schedule,
            loss_of,
            events,
            description,
            modules=[student, loss],
            prepare=lambda step: data.batch(step.indices, step.random, device, step.shard.rows),
            terms=lambda: loss.terms,
            trainer_config=trainer_config,
            final_metrics=final_metrics,
            validation=validation,
        )
