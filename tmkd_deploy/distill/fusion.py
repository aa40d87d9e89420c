"""Semantic weights: how much each view of an image counts, by the text teacher's judgement."""

from __future__ import annotations

import torch
from torch import Tensor


def semantic_weights(scores: Tensor, labels: Tensor, temperature: float) -> Tensor:
    """w = softmax over views of s / temperature, with s_v the score of the image's own class.

    Args:
        scores: [N, V, C], cosines in [-1, 1].
        labels: [N], int64.
        temperature: above 0; towards 0 the best view takes all, towards infinity all count alike.

    Returns:
        [N, V], non-negative, rows sum to 1.
    """
    own = scores[torch.arange(len(labels)), :, labels]
    return torch.softmax(own / temperature, dim=1)


def seen_classes(scores: Tensor) -> Tensor:
    """The class [N] that the text teacher itself sees, by its mean score [N, V, C] over the views.

    Weights guided by it instead of the label need no label and trust the text teacher more.
    """
    return scores.mean(dim=1).argmax(dim=1)


def even_weights(images: int, views: int) -> Tensor:
    """Weights [N, V] that let every view count alike: what is used without a text teacher."""
    return torch.full((images, views), 1.0 / views)


def fuse(values: Tensor, weights: Tensor) -> Tensor:
    """Sum over views of w_v times the value of view v.

    Args:
        values: [V, N, D], logits or features of each view.
        weights: [N, V].

    Returns:
        [N, D].
    """
    return torch.einsum("vnd,nv->nd", values, weights)
