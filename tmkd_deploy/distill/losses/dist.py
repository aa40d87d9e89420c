"""DIST: distillation by correlation (Huang et al. 2022, arXiv 2205.10536)."""

from __future__ import annotations

import torch
from torch import Tensor


def dist(student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    """T^2 ((1 - correlation within images) + (1 - correlation within classes)).

    Both parts have weight 1; the paper's constants are covered by `alpha` of the total loss.
    Arguments as for `kd`.
    """
    p = torch.softmax(student / temperature, dim=1)
    q = torch.softmax(teacher / temperature, dim=1)
    return temperature**2 * (_one_minus_correlation(p, q) + _one_minus_correlation(p.T, q.T))


def _one_minus_correlation(a: Tensor, b: Tensor) -> Tensor:
    """1 - Pearson correlation of the rows of `a` and `b`, averaged over the rows.

    For a nearly constant row (deviations with a norm below 1e-8, such as a class that no image of
    the batch resembles) the correlation is damped towards 0.
    """
    a = a - a.mean(dim=1, keepdim=True)
    b = b - b.mean(dim=1, keepdim=True)
    return 1.0 - torch.cosine_similarity(a, b, dim=1, eps=1e-8).mean()
