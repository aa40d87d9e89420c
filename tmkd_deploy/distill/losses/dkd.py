"""Decoupled knowledge distillation (Zhao et al. 2022, arXiv 2203.08679)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def dkd(
    student: Tensor, teacher: Tensor, labels: Tensor, temperature: float, beta: float
) -> Tensor:
    """T^2 (TCKD + beta NCKD): target against non-target classes, and among non-target classes.

    Args:
        student, teacher: logits [N, C].
        labels: [N] int64.
        temperature: T, above 0.
        beta: the weight of NCKD; the paper's alpha is 1 here, covered by `alpha` of the total loss.
    """
    student, teacher = student / temperature, teacher / temperature
    target = F.one_hot(labels, student.shape[1]).bool()
    target_class = F.kl_div(
        _target_and_rest(student, target),
        _target_and_rest(teacher, target),
        reduction="batchmean",
        log_target=True,
    )
    non_target = F.kl_div(
        F.log_softmax(_without(student, target), dim=1),
        F.log_softmax(_without(teacher, target), dim=1),
        reduction="batchmean",
        log_target=True,
    )
    return temperature**2 * (target_class + beta * non_target)


def _target_and_rest(logits: Tensor, target: Tensor) -> Tensor:
    """Log-probabilities [N, 2] of the target class and of all other classes combined."""
    log = F.log_softmax(logits, dim=1)
    return torch.stack([log[target], torch.logsumexp(_without(log, target), dim=1)], dim=1)


def _without(values: Tensor, target: Tensor) -> Tensor:
    """The values [N, C - 1] of all classes except the target."""
    return values[~target].view(len(values), -1)
