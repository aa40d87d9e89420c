"""Augmentations with continuous random values, each image with its own.

torchvision's classes draw from torch's global generator, which the next batch's thread and dropout
share; here all values come from the step's generator, so a resumed training sees the same images.
Values are drawn for the whole batch, so every process makes its rows exactly as they are within it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor
from torchvision.transforms.v2 import functional as v2

from tmkd_deploy.records.types import Augmentation
from tmkd_deploy.training.augment import Rows

_LEAST_AREA = 0.25  # of the image, in a crop
_RATIO = 4 / 3  # width to height of a crop, or the inverse
_JITTER = 0.4
_ERASED = 0.25  # share of the images
_ERASED_AREA = (0.02, 1 / 3)
_ERASED_RATIO = 10 / 3
_BINS = 31  # of TrivialAugment's magnitude

# changes of an image [3, H, W] by m in [-1, 1]; the ranges are the paper's "wide" ones
_OPERATIONS: tuple[Callable[[Tensor, float], Tensor], ...] = (
    lambda image, _: image,
    lambda image, m: v2.adjust_brightness(image, 1 + 0.99 * m),
    lambda image, m: v2.adjust_saturation(image, 1 + 0.99 * m),
    lambda image, m: v2.adjust_contrast(image, 1 + 0.99 * m),
    lambda image, m: v2.adjust_sharpness(image, 1 + 0.99 * m),
    lambda image, m: v2.posterize(image, 8 - round(6 * abs(m))),
    lambda image, m: v2.solarize(image, 1 - abs(m)),
    lambda image, _: v2.autocontrast(image),
    lambda image, _: v2.equalize(image),
    lambda image, m: v2.rotate(image, 135 * m),
    lambda image, m: _moved(image, shear=[math.degrees(math.atan(0.99 * m)), 0.0]),
    lambda image, m: _moved(image, shear=[0.0, math.degrees(math.atan(0.99 * m))]),
    lambda image, m: _moved(image, right=m / 7),
    lambda image, m: _moved(image, down=m / 7),
)


def augment_strongly(
    images: Tensor,
    kinds: Sequence[Augmentation],
    random: torch.Generator,
    total: int | None = None,
    rows: Rows = slice(None),
) -> Tensor:
    """Images [n, 3, H, W] in [0, 1] with `kinds` applied, in the order of `_KINDS`.

    `images` are the `rows` of a batch of `total`.
    """
    draw = _Draw(random, len(images) if total is None else total, rows, images.device)
    for kind, apply in _KINDS.items():
        if kind in kinds:
            images = apply(images, draw)
    return images


class _Draw:
    """Random values for the rows of a batch."""

    def __init__(
        self, random: torch.Generator, total: int, rows: Rows, device: torch.device
    ) -> None:
        self._random, self._total, self._rows, self._device = random, total, rows, device

    def uniform(self, low: float, high: float) -> Tensor:
        """Values [n, 1, 1, 1] in [low, high)."""
        values = torch.rand((self._total, 1, 1, 1), generator=self._random)[self._rows]
        return (low + (high - low) * values).to(self._device)

    def integers(self, count: int) -> list[int]:
        """Values below `count`, one for each image."""
        found = torch.randint(count, (self._total,), generator=self._random)[self._rows]
        return list(map(int, found.tolist()))


def _random_resized_crop(images: Tensor, draw: _Draw) -> Tensor:
    """Crops of a quarter to all of the area, resized to the whole; Szegedy et al. 2015."""
    width, height = _box(draw, (_LEAST_AREA, 1.0), _RATIO)
    left, top = ((1 - side) * draw.uniform(-1, 1) for side in (width, height))
    lines, columns = (
        torch.linspace(-1 + 1 / size, 1 - 1 / size, size, device=images.device)
        for size in images.shape[2:]
    )
    x = columns.view(1, 1, -1, 1) * width + left
    y = lines.view(1, -1, 1, 1) * height + top
    shape = (len(images), *images.shape[2:], 1)
    grid = torch.cat([x.expand(shape), y.expand(shape)], dim=3)
    return F.grid_sample(images, grid, padding_mode="border", align_corners=False)


def _trivialaugment(images: Tensor, draw: _Draw) -> Tensor:
    """One random operation at a random strength; Müller and Hutter 2021 (arXiv 2103.10158)."""
    operations, bins, signs = (
        draw.integers(len(_OPERATIONS)),
        draw.integers(_BINS),
        draw.integers(2),
    )
    return torch.stack(
        [
            _OPERATIONS[operation](image, (1 if sign else -1) * magnitude / (_BINS - 1))
            for image, operation, magnitude, sign in zip(
                images, operations, bins, signs, strict=True
            )
        ]
    )


def _color_jitter(images: Tensor, draw: _Draw) -> Tensor:
    """Brightness, contrast and saturation, each by up to 40 %."""
    brightness, contrast, saturation = (draw.uniform(1 - _JITTER, 1 + _JITTER) for _ in range(3))
    images = (images * brightness).clamp(0, 1)
    grey = v2.rgb_to_grayscale(images).mean(dim=(1, 2, 3), keepdim=True)
    images = (grey + contrast * (images - grey)).clamp(0, 1)
    grey = v2.rgb_to_grayscale(images)
    images = grey + saturation * (images - grey)
    return images.clamp(0, 1)


def _random_erasing(images: Tensor, draw: _Draw) -> Tensor:
    """A grey rectangle over a quarter of the images; Zhong et al. 2017 (arXiv 1708.04896)."""
    width, height = _box(draw, _ERASED_AREA, _ERASED_RATIO)
    left, top = (1 - width) * draw.uniform(0, 1), (1 - height) * draw.uniform(0, 1)
    lines, columns = (
        ((torch.arange(size, device=images.device) + 0.5) / size) for size in images.shape[2:]
    )
    x, y = columns.view(1, 1, 1, -1), lines.view(1, 1, -1, 1)
    inside = (x >= left) & (x < left + width) & (y >= top) & (y < top + height)
    return images.masked_fill(inside & (draw.uniform(0, 1) < _ERASED), 0.5)


def _box(draw: _Draw, area: tuple[float, float], ratio: float) -> tuple[Tensor, Tensor]:
    """Width and height as shares of the image's, at most 1."""
    areas, ratios = draw.uniform(*area), draw.uniform(-math.log(ratio), math.log(ratio)).exp()
    return (areas * ratios).sqrt().clamp(max=1), (areas / ratios).sqrt().clamp(max=1)


def _moved(
    image: Tensor, right: float = 0.0, down: float = 0.0, shear: Sequence[float] = (0.0, 0.0)
) -> Tensor:
    """Shifted by shares of its size and sheared by degrees; what is uncovered is black."""
    shift = [round(right * image.shape[2]), round(down * image.shape[1])]
    moved: Tensor = v2.affine(image, angle=0.0, translate=shift, scale=1.0, shear=list(shear))
    return moved


_KINDS: dict[Augmentation, Callable[[Tensor, _Draw], Tensor]] = {
    "random_resized_crop": _random_resized_crop,
    "trivialaugment": _trivialaugment,
    "color_jitter": _color_jitter,
    "random_erasing": _random_erasing,
}
