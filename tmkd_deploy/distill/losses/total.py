"""The student's total loss, with the two projections that are discarded after training."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from tmkd_deploy.distill.losses.contrastive import contrastive
from tmkd_deploy.distill.losses.dist import dist
from tmkd_deploy.distill.losses.dkd import dkd
from tmkd_deploy.distill.losses.feature import feature
from tmkd_deploy.distill.losses.kd import kd
from tmkd_deploy.distill.losses.labels import label_loss
from tmkd_deploy.distill.settings import LossSettings
from tmkd_deploy.training.batches import MixedIn


@dataclass(frozen=True)
class TeacherOutputs:
    """The fused teacher's outputs for a batch: logits [N, C] and features [N, D]."""

    logits: Tensor
    features: Tensor


class StudentLoss(nn.Module):
    """w CE + r (alpha * logit term + beta * feature term + gamma * contrastive term).

    w is `ce_weight`. The warm-up factor r rises linearly from 1 / teacher_warmup_epochs in the
    first epoch to 1. `class_weights` [C] apply to CE alone: the teachers' outputs say of every
    image how probable each class is, which is equally true of frequent and of rare ones. `terms`
    holds the weighted terms of the last batch by name, detached.
    """

    texts: Tensor
    class_weights: Tensor | None

    def __init__(
        self,
        settings: LossSettings,
        student_width: int,
        teacher_width: int,
        texts: Tensor,
        class_weights: Tensor | None = None,
    ) -> None:
        super().__init__()
        self.settings = settings
        self.terms: dict[str, Tensor] = {}
        self.to_teacher = nn.Linear(student_width, teacher_width)
        self.to_text = nn.Linear(student_width, texts.shape[1])
        self.register_buffer("texts", texts)
        # they follow from the data, so files need not hold them
        self.register_buffer("class_weights", class_weights, persistent=False)

    def forward(
        self,
        logits: Tensor,
        features: Tensor,
        labels: Tensor,
        teacher_outputs: TeacherOutputs | None,
        epoch: int,
        mixed_in: MixedIn | None = None,
    ) -> Tensor:
        """The loss of a batch; without `teacher_outputs` the cross-entropy of the labels only.

        Args:
            logits: the student's [N, C].
            features: the student's [N, its width].
            labels: [N] int64.
            teacher_outputs: the teachers' outputs for the same images.
            epoch: counted from 0.
            mixed_in: what is mixed into the images: every term that depends on the labels is then
                the mean over both labels, weighted by their shares.
        """
        terms = self._terms(logits, features, labels, teacher_outputs, epoch)
        if mixed_in is not None:
            others = self._terms(logits, features, mixed_in.labels, teacher_outputs, epoch)
            terms = {
                name: torch.lerp(others[name], term, mixed_in.share) for name, term in terms.items()
            }
        self.terms = {name: term.detach() for name, term in terms.items()}
        return torch.stack(list(terms.values())).sum()

    def _terms(
        self,
        logits: Tensor,
        features: Tensor,
        labels: Tensor,
        teacher_outputs: TeacherOutputs | None,
        epoch: int,
    ) -> dict[str, Tensor]:
        by_label = label_loss(logits, labels, self.class_weights)
        if teacher_outputs is None:
            return {"labels": by_label}
        settings = self.settings
        warmup_epochs = settings.teacher_warmup_epochs
        warmup = min(1.0, (epoch + 1) / warmup_epochs) if warmup_epochs else 1.0
        terms = {"labels": settings.ce_weight * by_label}
        if settings.alpha:
            term = self._logit_loss(logits, teacher_outputs.logits, labels, settings.temperature)
            terms["logits"] = warmup * settings.alpha * term
        if settings.beta:
            projected = self.to_teacher(features)
            term = feature(projected, teacher_outputs.features)
            terms["features"] = warmup * settings.beta * term
        if settings.gamma:
            projected = self.to_text(features)
            term = contrastive(projected, self.texts, labels, settings.contrastive_temperature)
            terms["contrastive"] = warmup * settings.gamma * term
        return terms

    def _logit_loss(
        self, student: Tensor, teacher: Tensor, labels: Tensor, temperature: float
    ) -> Tensor:
        if self.settings.logit_loss == "kd":
            return kd(student, teacher, temperature)
        if self.settings.logit_loss == "dist":
            return dist(student, teacher, temperature)
        return dkd(student, teacher, labels, temperature, self.settings.dkd_beta)
