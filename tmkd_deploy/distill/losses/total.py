"""The student's whole loss, with the two projections that are thrown away after training."""

from __future__ import annotations

from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor, nn

from tmkd_deploy.distill.losses.contrastive import contrastive
from tmkd_deploy.distill.losses.dist import dist
from tmkd_deploy.distill.losses.dkd import dkd
from tmkd_deploy.distill.losses.feature import feature
from tmkd_deploy.distill.losses.kd import kd
from tmkd_deploy.recipe import schema

LOGIT_LOSSES = {"kd": kd, "dkd": dkd, "dist": dist}


@dataclass(frozen=True)
class Signals:
    """What the teachers say of a batch: fused logits [N, C], fused features [N, D]."""

    logits: Tensor
    features: Tensor


class StudentLoss(nn.Module):
    """CE + alpha * logit term + beta * feature term + gamma * contrastive term."""

    texts: Tensor

    def __init__(
        self, settings: schema.Distill, student_width: int, teacher_width: int, texts: Tensor
    ) -> None:
        super().__init__()
        self.settings = settings
        self.to_teacher = nn.Linear(student_width, teacher_width)
        self.to_text = nn.Linear(student_width, texts.shape[1])
        self.register_buffer("texts", texts)

    def forward(
        self, logits: Tensor, features: Tensor, labels: Tensor, signals: Signals | None
    ) -> Tensor:
        """The loss of a batch; without `signals` the student learns from the labels alone."""
        loss = F.cross_entropy(logits, labels)
        if signals is None:
            return loss
        settings = self.settings
        if settings.alpha:
            logit_loss = LOGIT_LOSSES[settings.logit_loss]
            loss = loss + settings.alpha * logit_loss(
                logits, signals.logits, labels, settings.temperature
            )
        if settings.beta:
            loss = loss + settings.beta * feature(self.to_teacher(features), signals.features)
        if settings.gamma:
            loss = loss + settings.gamma * contrastive(
                self.to_text(features), self.texts, labels, settings.contrastive_temperature
            )
        return loss
