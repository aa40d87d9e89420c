"""Fitting a few numbers of a fused teacher to held-out images by their likelihood.

Logits are linear in these numbers, so the mean negative log-likelihood (NLL) is convex in them.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from tmkd_deploy.distill.fusion import fuse

_HALVINGS = 20
_ROUNDS = 50
_GAP = 1e-4  # nats that the weights found may be worse than the best


def image_nll(logits: Tensor, labels: Tensor) -> Tensor:
    """The NLL in nats of each image, [N] in float64, from logits [N, C] and labels [N]."""
    return F.cross_entropy(logits.double(), labels, reduction="none")


def best_factor(fixed: Tensor, added: Tensor, labels: Tensor, low: float, high: float) -> float:
    """The factor in [low, high] with the least mean NLL of the logits fixed + factor * added.

    Args:
        fixed: [N, C].
        added: [N, C].
        labels: [N] int64.
        low: the smallest factor.
        high: the largest.
    """
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        if float(_slopes(fixed + middle * added, added[None], labels)) > 0:
            high = middle
        else:
            low = middle
    return (low + high) / 2


def best_weights(logits: Tensor, labels: Tensor) -> Tensor:
    """The weights [V] with the least mean NLL of the fused logits; not negative, their sum is 1.

    Each round moves weight from the view with the steepest slope to the one with the lowest
    (pairwise Frank-Wolfe, Lacoste-Julien and Jaggi 2015, with an exact line search).

    Args:
        logits: [V, N, C].
        labels: [N] int64.
    """
    weights = torch.full((len(logits),), 1 / len(logits))
    for _ in range(_ROUNDS):
        fused = fuse(logits, weights.expand(len(labels), -1))
        slopes = _slopes(fused, logits, labels)
        best = int(slopes.argmin())
        worst = int(slopes.masked_fill(weights == 0, -torch.inf).argmax())
        if float(slopes[worst] - slopes[best]) < _GAP:
            break
        most = float(weights[worst])
        moved = best_factor(fused, logits[best] - logits[worst], labels, 0.0, most)
        moved = most if most - moved < 1e-6 else moved
        weights[best] += moved
        weights[worst] -= moved
    return weights / weights.sum()


def _slopes(logits: Tensor, directions: Tensor, labels: Tensor) -> Tensor:
    """The slopes [K] of the mean NLL at logits [N, C] along each of the directions [K, N, C]."""
    errors = logits.softmax(dim=1)
    errors[torch.arange(len(labels)), labels] -= 1
    return torch.stack([(errors * each).sum(dim=1).double().mean() for each in directions])
