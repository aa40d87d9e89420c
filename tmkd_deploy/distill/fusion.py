"""Semantic weights: how much each view of an image counts, according to the text teacher."""

from __future__ import annotations

import torch
from torch import Tensor


def semantic_weights(scores: Tensor, labels: Tensor, temperature: float) -> Tensor:
    """w = softmax over views of s / temperature, where s_v is the score of the image's own class.

    Args:
        scores: [N, V, C], cosines in [-1, 1].
        labels: [N], int64.
        temperature: > 0; near 0 the best view takes all, for large values all views count equally.

    Returns:
        [N, V], non-negative, rows sum to 1.
    """
    class_scores = scores[torch.arange(len(labels)), :, labels]
    return torch.softmax(class_scores / temperature, dim=1)


def predicted_classes(scores: Tensor) -> Tensor:
    """The text teacher's predicted class [N], from its scores [N, V, C] averaged over the views.

    Weights based on the prediction instead of the label need no label, but trust the text teacher
    more.
    """
    return scores.mean(dim=1).argmax(dim=1)


def uniform_weights(images: int, views: int) -> Tensor:
    """Equal weights [N, V] for all views, used when `distill.text_weights` is off."""
    return torch.full((images, views), 1.0 / views)


def fuse(values: Tensor, weights: Tensor) -> Tensor:
    """Weighted sum over the views: sum_v w_v * values_v.

    Args:
        values: [V, N, D], logits or features of each view.
        weights: [N, V].

    Returns:
        [N, D].
    """
    return torch.einsum("vnd,nv->nd", values, weights)
