"""Training one student, with teachers or alone, whatever the model and the data are."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from tmkd_deploy.distill.batches import TrainingImages
from tmkd_deploy.distill.losses.total import StudentLoss
from tmkd_deploy.distill.signals import SignalSource
from tmkd_deploy.distill.training import Schedule, Step, fit
from tmkd_deploy.events import Events


def train_student(
    student: nn.Module,
    loss: StudentLoss,
    data: TrainingImages,
    signals: SignalSource | None,
    schedule: Schedule,
    device: torch.device,
    events: Events,
    description: str,
) -> None:
    """Minimise `loss` over `data`; without `signals` the student learns from the labels alone.

    `student` maps images [n, 3, H, W] in [0, 1] to logits [n, C] and features [n, D]. It and `loss`
    are on `device` already.
    """

    def loss_of(step: Step) -> Tensor:
        student.train()
        batch = data.batch(step.indices, step.random, device)
        logits, features = student(batch.images)
        told = signals.of(batch) if signals else None
        value: Tensor = loss(logits, features, batch.labels, told, step.epoch)
        return value

    parameters = [*student.parameters(), *loss.parameters()]
    fit(parameters, len(data), schedule, loss_of, events, description)
