"""Cross-entropy with the labels, in which classes may have weights."""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

LARGEST_RATIO = 10.0
ClassWeights = Literal["none", "balanced"]


def class_weights(kind: ClassWeights, labels: Tensor, classes: int) -> Tensor | None:
    """Weights [C] (float32) of `classes` classes for training labels [N]; None for 'none'.

    'balanced' is the inverse frequency: w_c = a min(n_max / n_c, 10), where n_c counts the images
    of class c, n_max is the largest of these counts, and a makes the mean of w over the training
    images 1. The cap keeps a handful of images from ruling the gradient.
    """
    if kind == "none":
        return None
    counts = torch.bincount(labels, minlength=classes).double()
    ratios = (counts.max() / counts.clamp(min=1.0)).clamp(max=LARGEST_RATIO)
    return (ratios * counts.sum() / (ratios * counts).sum()).float()


def label_loss(
    logits: Tensor, labels: Tensor, weights: Tensor | None = None, smoothing: float = 0.0
) -> Tensor:
    """The mean over images of w_y CE(logits, y), for logits [N, C], labels [N] and weights [C].

    `smoothing` is label smoothing. Unlike torch's weighted mean, this one is not divided by the
    batch's sum of weights: a batch without rare classes then has a smaller loss, and over an epoch
    every image counts by its weight.
    """
    if weights is None:
        return F.cross_entropy(logits, labels, label_smoothing=smoothing)
    each = F.cross_entropy(logits, labels, reduction="none", label_smoothing=smoothing)
    return (weights[labels] * each).mean()
