"""Mixing each image of a batch with a partner: mixup and CutMix."""

from __future__ import annotations

import math
from typing import Literal

import numpy as np
import torch
from torch import Tensor


def mix(
    images: Tensor,
    partners: Tensor,
    kind: Literal["mixup", "cutmix"],
    alpha: float,
    random: torch.Generator,
) -> tuple[Tensor, float]:
    """Images [n, 3, H, W], each mixed with its partner, and the share in [0, 1] of the image.

    The share follows Beta(alpha, alpha) and is the same for the whole batch. For CutMix it is the
    share of the pixels, so it is larger where the border cuts off the rectangle.
    """
    # torch's own beta distribution draws from the global generator
    seed = int(torch.randint(2**63 - 1, (), generator=random))
    share = float(np.random.default_rng(seed).beta(alpha, alpha))
    if kind == "mixup":
        return torch.lerp(partners, images, share), share
    line, column = (int(torch.randint(side, (), generator=random)) for side in images.shape[2:])
    return cutmix(images, partners, share, (line, column))


def cutmix(
    images: Tensor, partners: Tensor, share: float, centre: tuple[int, int]
) -> tuple[Tensor, float]:
    """Paste the part of `partners` around `centre` (line, column); as `mix`.

    It has the proportions of the image and 1 - `share` of its area, before the border cuts it off
    (Yun et al. 2019, arXiv 1905.04899).
    """
    half = 0.5 * math.sqrt(1 - share)
    lines, columns = (
        slice(max(0, place - int(half * side)), place + int(half * side))
        for place, side in zip(centre, images.shape[2:], strict=True)
    )
    mixed = images.clone()
    mixed[..., lines, columns] = partners[..., lines, columns]
    return mixed, 1 - mixed[0, 0, lines, columns].numel() / mixed[0, 0].numel()
