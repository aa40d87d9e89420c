"""KD from each view by itself: the mean of the divergences in place of that of the mean."""

from __future__ import annotations

import torch
from torch import Tensor

from tmkd_deploy.distill.losses.kd import kd
from tmkd_deploy.distill.losses.total import StudentLoss, TeacherOutputs


class ViewByViewLoss(StudentLoss):
    """The loss of a teacher whose features are the logits of its views, [N, V C]."""

    def _terms(
        self,
        logits: Tensor,
        features: Tensor,
        labels: Tensor,
        teacher_outputs: TeacherOutputs | None,
        epoch: int,
    ) -> dict[str, Tensor]:
        terms = super()._terms(logits, features, labels, teacher_outputs, epoch)
        if teacher_outputs is not None:
            views = teacher_outputs.features.split(logits.shape[1], dim=1)
            each = [kd(logits, view, self.settings.temperature) for view in views]
            terms["logits"] = self.settings.alpha * torch.stack(each).mean()
        return terms
