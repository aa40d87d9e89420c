"""Semantic scores without an image tower: visual features projected into the text space."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def fit_projection(features: Tensor, labels: Tensor, texts: Tensor, ridge: float = 1e-3) -> Tensor:
    """The linear map from visual features to the text embeddings of their labels.

    Closed-form ridge regression over all views of the training images:
    argmin_W sum |W f_v(x) - t_{v,y}|^2 + ridge * trace |W|^2, with a constant appended to f.
    It needs no seed and no schedule, so the semantic weights are reproducible.

    Args:
        features: [V, N, D], from the visual teacher.
        labels: [N] int64.
        texts: [V, C, d], unit vectors.
        ridge: the penalty, relative to the mean squared feature.

    Returns:
        W [D + 1, d], float32.
    """
    inputs = _append_one(features).flatten(0, 1).double()
    targets = texts[:, labels].flatten(0, 1).double()
    square = inputs.T @ inputs
    penalty = ridge * square.diagonal().mean() * torch.eye(len(square), dtype=torch.float64)
    solution: Tensor = torch.linalg.solve(square + penalty, inputs.T @ targets)
    return solution.float()


def projected_scores(features: Tensor, projection: Tensor, texts: Tensor) -> Tensor:
    """cos(W f_v(x), t_{v,k}) for features [V, N, D] and texts [V, C, d]: scores [N, V, C]."""
    projected = F.normalize(_append_one(features) @ projection, dim=-1)
    return torch.einsum("vnd,vcd->nvc", projected, F.normalize(texts, dim=-1))


def _append_one(features: Tensor) -> Tensor:
    return torch.cat([features, torch.ones_like(features[..., :1])], dim=-1)
