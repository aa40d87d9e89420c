"""Batches of training images: selected by index, augmented, and moved to the training device."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from tmkd_deploy.records.types import Augment, Augmentation, Mix
from tmkd_deploy.training.augment import Rows, apply_each, augmentation_count, random_crop
from tmkd_deploy.training.mix import mix
from tmkd_deploy.training.strong_augment import augment_strongly


@dataclass(frozen=True)
class MixedIn:
    """The training images that are mixed into those of a batch: indices [n] and labels [n].

    `share` in [0, 1] is the weight of the batch's own images and labels; the rest is that of these.
    """

    indices: Tensor
    labels: Tensor
    share: float


@dataclass(frozen=True)
class Batch:
    """Augmented images [n, 3, H, W] in [0, 1] and labels [n], on the training device.

    `indices` [n] are the training images' indices and `augmentations` [n] the numbers of their
    augmentations (0 for crops, which are not numbered); both stay on the CPU. `mixed_in` is None
    unless images are mixed.
    """

    images: Tensor
    labels: Tensor
    indices: Tensor
    augmentations: Tensor
    mixed_in: MixedIn | None = None


@dataclass(frozen=True)
class TrainingImages:
    """All images, uint8 [N, H, W, 3], and labels, int64 [N], with their augmentation.

    At most `max_augmentations` numbered augmentations are used; `augmentations` follow them, and
    `mix` comes last, with shares of the distribution Beta(`mix_alpha`, `mix_alpha`).
    """

    images: np.ndarray | Tensor
    labels: Tensor
    augment: Augment
    max_augmentations: int
    augmentations: Sequence[Augmentation] = ()
    mix: Mix = "none"
    mix_alpha: float = 1.0

    def __len__(self) -> int:
        return len(self.labels)

    def on(self, device: torch.device) -> TrainingImages:
        """The same images, kept on a GPU if they take up to a quarter of its free memory."""
        size = self.images.nbytes
        if not fits(size, device):
            return self
        images = torch.as_tensor(np.array(self.images), device=device)
        return replace(self, images=images, labels=self.labels.to(device))

    def batch(
        self,
        indices: Tensor,
        random: torch.Generator,
        device: torch.device,
        rows: slice = slice(None),
    ) -> Batch:
        """The training images `indices`, each randomly augmented.

        With `rows`, only this slice of the batch is made, identical to that slice of the whole.
        """
        if self.mix == "none":
            return self._augmented(indices, random, device, rows)
        # an image's partner is the one before it; the batch is in random order
        own = torch.arange(len(indices))[rows]
        made = torch.cat([own[:1] - 1, own]) % len(indices)
        batch = self._augmented(indices, random, device, made)
        images, share = mix(batch.images[1:], batch.images[:-1], self.mix, self.mix_alpha, random)
        return Batch(
            images,
            batch.labels[1:],
            batch.indices[1:],
            batch.augmentations[1:],
            MixedIn(batch.indices[:-1], batch.labels[:-1], share),
        )

    def _augmented(
        self, indices: Tensor, random: torch.Generator, device: torch.device, rows: Rows
    ) -> Batch:
        total, indices = len(indices), indices[rows]
        images = to_float(self.images, indices, device)
        numbers = torch.zeros(len(indices), dtype=torch.int64)
        if self.augment == "crop":
            images = random_crop(images, random, total, rows)
        else:
            choices = augmentation_count(self.augment, self.max_augmentations)
            numbers = torch.randint(choices, (total,), generator=random)[rows]
            images = apply_each(images, self.augment, numbers)
        images = augment_strongly(images, self.augmentations, random, total, rows)
        return Batch(
            images.contiguous(memory_format=torch.channels_last),
            to_device(selected(self.labels, indices), device),
            indices,
            numbers,
        )


def to_device(tensor: Tensor, device: torch.device) -> Tensor:
    """`tensor` on `device`; the host does not wait for the copy, nor for what a GPU does before."""
    if device.type == "cuda" and tensor.device.type == "cpu":
        return tensor.pin_memory().to(device, non_blocking=True)
    return tensor.to(device)


def selected(tensor: Tensor, *indices: Tensor) -> Tensor:
    """`tensor[indices]`, where it is, for indices on the CPU."""
    return tensor[tuple(to_device(each, tensor.device) for each in indices)]


def fits(size: int, device: torch.device) -> bool:
    """Whether `size` bytes are at most a quarter of what a GPU has free; never on a CPU."""
    return device.type == "cuda" and 4 * size <= torch.cuda.mem_get_info(device)[0]


def to_float(images: np.ndarray | Tensor, indices: Tensor | None, device: torch.device) -> Tensor:
    """Images `indices` of a uint8 array [N, H, W, 3] as floats [n, 3, H, W] in [0, 1].

    The result has channels-last layout, which makes convolutions faster on both CPU and GPU. A
    tensor may already be on the device.
    """
    if isinstance(images, Tensor):
        pixels = images if indices is None else selected(images, indices)
    elif indices is None:
        pixels = torch.from_numpy(np.array(images))
    else:
        pixels = torch.from_numpy(np.take(images, indices.numpy(), axis=0))
    pixels = to_device(pixels, device)
    return pixels.permute(0, 3, 1, 2).float().div_(255.0)
