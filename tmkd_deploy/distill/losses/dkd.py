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
    others = _other_classes(labels, student.shape[1])
    target_class = F.kl_div(
        _target_and_rest(student, labels, others),
        _target_and_rest(teacher, labels, others),
        reduction="batchmean",
        log_target=True,
    )
    non_target = F.kl_div(
        F.log_softmax(student.gather(1, others), dim=1),
        F.log_softmax(teacher.gather(1, others), dim=1),
        reduction="batchmean",
        log_target=True,
    )
    return temperature**2 * (target_class + beta * non_target)


def _other_classes(labels: Tensor, classes: int) -> Tensor:
    """The indices [N, C - 1] of all classes but the target.

    Unlike a Boolean mask, they have a shape that the host knows, so it does not wait for a GPU.
    """
    index = torch.arange(classes - 1, device=labels.device)
    return index + (index >= labels[:, None])


def _target_and_rest(logits: Tensor, labels: Tensor, others: Tensor) -> Tensor:
    """Log-probabilities [N, 2] of the target class and of all other classes combined."""
    log = F.log_softmax(logits, dim=1)
    target = log.gather(1, labels[:, None])
    rest = torch.logsumexp(log.gather(1, others), dim=1, keepdim=True)
    return torch.cat([target, rest], dim=1)
