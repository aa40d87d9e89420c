"""Knowledge distillation (Hinton et al. 2015, arXiv 1503.02531)."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor


def kd(student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    """T^2 KL(softmax(teacher / T) || softmax(student / T)), averaged over images.

    Args:
        student, teacher: logits [N, C].
        temperature: T, above 0.
    """
    return temperature**2 * F.kl_div(
        F.log_softmax(student / temperature, dim=1),
        F.log_softmax(teacher / temperature, dim=1),
        reduction="batchmean",
        log_target=True,
    )
