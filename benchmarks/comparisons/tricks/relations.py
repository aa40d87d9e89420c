"""Relational knowledge distillation (Park et al. 2019, arXiv 1904.05068) beside KD."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from tmkd_deploy.distill.losses.total import StudentLoss, TeacherOutputs

# The authors' weights of the two terms for metric learning; they stand 1 : 2 there as well.
DISTANCES, ANGLES = 1.0, 2.0


class RelationalLoss(StudentLoss):
    """The student's features have the distances and angles of the teacher's, up to scale."""

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
            student, teacher = features, teacher_outputs.features
            terms["distances"] = DISTANCES * F.smooth_l1_loss(
                distances(student), distances(teacher)
            )
            terms["angles"] = ANGLES * F.smooth_l1_loss(angles(student), angles(teacher))
        return terms


def distances(features: Tensor) -> Tensor:
    """Distances [n, n] between the features [n, D] of a batch, over their mean."""
    # cdist's gradient at a distance of zero is zero, not NaN
    found = torch.cdist(features, features)
    others = ~torch.eye(len(features), dtype=torch.bool)
    return found / found[others].mean().clamp(min=1e-6)


def angles(features: Tensor) -> Tensor:
    """Cosines [n, n, n] of the angles at image j between images i and k: index (j, i, k)."""
    directions = F.normalize(features[None] - features[:, None], dim=2)
    return directions @ directions.transpose(1, 2)
