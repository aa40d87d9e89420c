"""Batches of training images: drawn by index, augmented, on the device that trains."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from tmkd_deploy.records.types import Augment
from tmkd_deploy.training.augment import apply_each, random_crop, variants


@dataclass(frozen=True)
class Batch:
    """Augmented images [n, 3, H, W] in [0, 1] and labels [n], on the training device.

    `indices` [n] says which training images they are and `variant` [n] in which numbered
    augmentation (0 for crops, which have no number); both stay on the CPU.
    """

    images: Tensor
    labels: Tensor
    indices: Tensor
    variant: Tensor


@dataclass(frozen=True)
class TrainingImages:
    """All images, uint8 [N, H, W, 3], and labels, int64 [N], with the augmentation they get.

    `at_most` bounds the numbered variants that are drawn.
    """

    images: np.ndarray | Tensor
    labels: Tensor
    augment: Augment
    at_most: int

    def __len__(self) -> int:
        return len(self.labels)

    def batch(
        self,
        indices: Tensor,
        random: torch.Generator,
        device: torch.device,
        rows: slice = slice(None),
    ) -> Batch:
        """The training images `indices`, each augmented by chance.

        With `rows` these alone are made, just as they would be among all of them.
        """
        total, indices = len(indices), indices[rows]
        images = to_float(self.images, indices, device)
        variant = torch.zeros(len(indices), dtype=torch.int64)
        if self.augment == "crop":
            images = random_crop(images, random, total, rows)
        else:
            choices = variants(self.augment, self.at_most)
            variant = torch.randint(choices, (total,), generator=random)[rows]
            images = apply_each(images, self.augment, variant)
        return Batch(
            images.contiguous(memory_format=torch.channels_last),
            self.labels[indices].to(device),
            indices,
            variant,
        )


def to_float(images: np.ndarray | Tensor, indices: Tensor | None, device: torch.device) -> Tensor:
    """Images `indices` of a uint8 array [N, H, W, 3] as floats [n, 3, H, W] in [0, 1].

    The result is in channels-last layout, in which convolutions are faster on CPU and GPU alike. A
    tensor may be on the device already.
    """
    if isinstance(images, Tensor):
        pixels = images if indices is None else images[indices.to(images.device)]
    else:
        chosen = images if indices is None else images[indices.numpy()]
        pixels = torch.from_numpy(np.array(chosen))
        if device.type == "cuda":
            pixels = pixels.pin_memory()
    pixels = pixels.to(device, non_blocking=True)
    return pixels.permute(0, 3, 1, 2).float().div_(255.0)
