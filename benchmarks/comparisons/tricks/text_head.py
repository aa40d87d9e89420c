"""The student's last layer starts from the embeddings of the classes' prompts."""

from __future__ import annotations

import torch
from torch import Tensor, nn


def start(network: nn.Module, texts: Tensor) -> None:
    """Set the weights [C, D] of a timm network's head to the `texts` [C, d], projected and scaled.

    A random projection keeps the angles between texts roughly. What all classes share is removed,
    for it changes no prediction, and the weights keep their overall size.
    """
    head: nn.Linear = network.get_classifier()  # type: ignore[operator]
    with torch.no_grad():
        centred = texts - texts.mean(dim=0)
        projected = centred @ torch.randn(texts.shape[1], head.in_features)
        head.weight.copy_(projected * head.weight.norm() / projected.norm().clamp(min=1e-6))
