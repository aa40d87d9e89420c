"""Geometric augmentations: a numbered, finite set whose teacher signals can be kept; and crops."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from tmkd_deploy.records.types import Augment

# each variant is (quarter turns, mirrored left-right); 0 leaves the image as it is
_VARIANTS = {
    "none": ((0, False),),
    "flip": ((0, False), (0, True)),
    # mirrors and half turns first: they are exact for any image, quarter turns need squares
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


def variants(kind: Augment, at_most: int) -> int:
    """How many numbered variants `kind` offers, `at_most` counted; crops have no number."""
    return min(len(_VARIANTS[kind]), at_most)


def apply(images: Tensor, kind: Augment, variant: int) -> Tensor:
    """Variant number `variant` of square images [..., H, W]."""
    turns, mirrored = _VARIANTS[kind][variant]
    if mirrored:
        images = images.flip(-1)
    return torch.rot90(images, turns, dims=(-2, -1)) if turns else images


def apply_each(images: Tensor, kind: Augment, chosen: Tensor) -> Tensor:
    """Variant `chosen[i]` of `images[i]`, for images [N, 3, H, W] and chosen [N] int64."""
    result = images.clone()
    for variant in torch.unique(chosen).tolist():
        rows = chosen == variant
        result[rows] = apply(images[rows], kind, variant)
    return result


def random_crop(
    images: Tensor, random: torch.Generator, total: int | None = None, share: slice = slice(None)
) -> Tensor:
    """Images [N, 3, H, W], each shifted by up to an eighth of its size and mirrored or not.

    For 32 pixels this is the usual random crop after padding by 4. What is moved in is black. Where
    the images are the `share` of a batch of `total`, they are cropped as in the whole batch.
    """
    count, _, height, width = images.shape
    total = count if total is None else total
    reach = height // 8, width // 8
    offsets = [torch.randint(2 * r + 1, (total, 1, 1), generator=random)[share] for r in reach]
    mirrored = (torch.rand((total, 1, 1), generator=random) < 0.5)[share]
    columns = torch.arange(width).expand(count, 1, width)
    columns = torch.where(mirrored, width - 1 - columns, columns) + offsets[1]
    rows = torch.arange(height).view(1, height, 1) + offsets[0]
    padded = F.pad(images, (reach[1], reach[1], reach[0], reach[0]))
    each = torch.arange(count).view(count, 1, 1)
    device = images.device
    cropped = padded.permute(0, 2, 3, 1)[each.to(device), rows.to(device), columns.to(device)]
    return cropped.permute(0, 3, 1, 2)
