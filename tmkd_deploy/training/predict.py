"""Inference over many images."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from tmkd_deploy.training.batches import to_float


def predict(
    model: nn.Module, images: np.ndarray | Tensor, device: torch.device, batch_size: int = 64
) -> Tensor:
    """Logits [N, C] (float32, on the CPU) of a model that returns logits and features.

    `images` are uint8 [N, H, W, 3].
    """
    model.eval()
    with torch.inference_mode():
        parts = [
            model(to_float(images[start : start + batch_size], None, device))[0].float().cpu()
            for start in range(0, len(images), batch_size)
        ]
    return torch.cat(parts)
