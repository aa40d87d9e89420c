"""The crops of CIFAR's usual augmentation: 9 x 9 shifts and mirrors, 162 in all, by number."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

SIDE, PADDING = 32, 4
SHIFTS = 2 * PADDING + 1
CROPS = SHIFTS * SHIFTS * 2


def padded(images: Tensor) -> Tensor:
    """Images [N, 32, 32, 3] with a frame of zeros, [N, 40, 40, 3]."""
    return F.pad(images, (0, 0, PADDING, PADDING, PADDING, PADDING))


def crops(images: Tensor, indices: Tensor, numbers: Tensor) -> Tensor:
    """The crops `numbers` [n] of the padded images `indices` [n]: [n, 3, 32, 32] in [0, 1].

    A number is ((row shift) 9 + column shift) 2 + mirrored. It is index arithmetic alone, so a CUDA
    graph can hold it.
    """
    mirrored = numbers % 2 == 1
    rows, columns = numbers // 2 // SHIFTS, numbers // 2 % SHIFTS
    along = torch.arange(SIDE, device=images.device)
    across = torch.where(mirrored[:, None], SIDE - 1 - along, along) + columns[:, None]
    down = along + rows[:, None]
    pixels = images[indices[:, None, None], down[:, :, None], across[:, None, :]]
    return pixels.permute(0, 3, 1, 2).float() / 255.0
