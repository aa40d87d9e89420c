"""Geometric augmentations: finite, numbered sets whose teacher outputs can be cached; and crops."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from tmkd_deploy.records.types import Augment

Rows = slice | Tensor  # of a batch: a slice, or numbers [n] int64

# (quarter turns, mirrored left-right) by number; number 0 is the identity
_NUMBERED = {
    "none": ((0, False),),
    "flip": ((0, False), (0, True)),
    # mirrors and half turns first: they work on any image, quarter turns need square ones
    "dihedral": (
        (0, False),
        (0, True),
        (2, True),
        (2, False),
        (1, False),
        (3, False),
        (1, True),
        (3, True),
    ),
}


def augmentation_count(kind: Augment, maximum: int) -> int:
    """How many numbered augmentations `kind` has, at most `maximum`; crops are not numbered."""
    return min(len(_NUMBERED[kind]), maximum)


def apply(images: Tensor, kind: Augment, number: int) -> Tensor:
    """Augmentation `number` of `kind`, applied to all images [..., H, W]; turns need H = W."""
    turns, mirrored = _NUMBERED[kind][number]
    if mirrored:
        images = images.flip(-1)
    return torch.rot90(images, turns, dims=(-2, -1)) if turns else images


def apply_each(images: Tensor, kind: Augment, numbers: Tensor) -> Tensor:
    """Augmentation `numbers[i]` of `images[i]`, for images [N, 3, H, W] and numbers [N] int64."""
    result = images.clone()
    for number in torch.unique(numbers).tolist():
        rows = numbers == number
        result[rows] = apply(images[rows], kind, number)
    return result


def random_crop(
    images: Tensor, random: torch.Generator, total: int | None = None, rows: Rows = slice(None)
) -> Tensor:
    """Images [N, 3, H, W], each shifted by up to an eighth of its size and randomly mirrored.

    For 32 pixels this is the usual random crop after zero-padding by 4. If the images are the
    `rows` of a batch of `total` images, they are cropped exactly as within the whole batch.
    """
    count, _, height, width = images.shape
    total = count if total is None else total
    padding = height // 8, width // 8
    offsets = [torch.randint(2 * p + 1, (total, 1, 1), generator=random)[rows] for p in padding]
    mirrored = (torch.rand((total, 1, 1), generator=random) < 0.5)[rows]
    columns = torch.arange(width).expand(count, 1, width)
    columns = torch.where(mirrored, width - 1 - columns, columns) + offsets[1]
    lines = torch.arange(height).view(1, height, 1) + offsets[0]
    padded = F.pad(images, (padding[1], padding[1], padding[0], padding[0]))
    each = torch.arange(count).view(count, 1, 1)
    device = images.device
    cropped = padded.permute(0, 2, 3, 1)[each.to(device), lines.to(device), columns.to(device)]
    return cropped.permute(0, 3, 1, 2)
