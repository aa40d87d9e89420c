"""Geometric augmentations as a numbered, finite set, so that teacher signals can be cached."""

from __future__ import annotations

import torch
from torch import Tensor

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


def variants(kind: str, at_most: int) -> int:
    """How many variants `kind` offers, `at_most` counted."""
    return min(len(_VARIANTS[kind]), at_most)


def apply(images: Tensor, kind: str, variant: int) -> Tensor:
    """Variant number `variant` of square images [..., H, W]."""
    turns, mirrored = _VARIANTS[kind][variant]
    if mirrored:
        images = images.flip(-1)
    return torch.rot90(images, turns, dims=(-2, -1)) if turns else images


def apply_each(images: Tensor, kind: str, chosen: Tensor) -> Tensor:
    """Variant `chosen[i]` of `images[i]`, for images [N, 3, H, W] and chosen [N] int64."""
    result = images.clone()
    for variant in torch.unique(chosen).tolist():
        rows = chosen == variant
        result[rows] = apply(images[rows], kind, variant)
    return result
