"""Image filters in plain torch: Gaussian blur, Sobel gradient, Canny edges."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

# thresholds for grey values in [0, 1]; a unit step has a gradient of about 2.6 after the blur
_CANNY_SIGMA = 1.0
_CANNY_RADIUS = 2
_WEAK, _STRONG = 0.1, 0.2


def gaussian_blur(images: Tensor, sigma: float, radius: int) -> Tensor:
    """Blur [N, C, H, W] with a Gaussian truncated at `radius` pixels and reflected borders.

    `radius` must be smaller than both height and width.
    """
    offsets = torch.arange(-radius, radius + 1, dtype=images.dtype, device=images.device)
    weights = torch.exp(-0.5 * (offsets / sigma) ** 2)
    weights = (weights / weights.sum()).view(1, 1, 1, -1)
    planes = images.reshape(-1, 1, *images.shape[-2:])
    planes = F.conv2d(F.pad(planes, (radius, radius, 0, 0), mode="reflect"), weights)
    planes = F.conv2d(F.pad(planes, (0, 0, radius, radius), mode="reflect"), weights.mT)
    return planes.view_as(images)


def sobel_gradient(grey: Tensor) -> Tensor:
    """Sobel gradient [N, 2, H, W] (x, y) of [N, 1, H, W] with replicated borders.

    Normalised so that a linear ramp has the gradient of its slope per pixel.
    """
    # made where they are used: a copy to a GPU would make the host wait
    slope = torch.arange(-1.0, 2.0, dtype=grey.dtype, device=grey.device)
    horizontal = torch.outer(2.0 - slope.abs(), slope) / 8
    kernels = torch.stack([horizontal, horizontal.T]).unsqueeze(1)
    return F.conv2d(F.pad(grey, (1, 1, 1, 1), mode="replicate"), kernels)


def canny(grey: Tensor) -> Tensor:
    """Thinned Canny edges, 0 or 1, of [N, 1, H, W] with values in [0, 1]."""
    blurred = gaussian_blur(grey, _CANNY_SIGMA, _CANNY_RADIUS)
    gradient = 8 * sobel_gradient(blurred)
    horizontal, vertical = gradient[:, :1], gradient[:, 1:]
    magnitude = torch.hypot(horizontal, vertical)
    ridges = _on_ridge(magnitude, torch.atan2(vertical, horizontal))
    return _connected(ridges & (magnitude > _WEAK), ridges & (magnitude > _STRONG)).to(grey.dtype)


def _on_ridge(magnitude: Tensor, angle: Tensor) -> Tensor:
    """Non-maximum suppression: whether a pixel is the largest of three along its gradient.

    Of two equal neighbours the left or upper one counts.
    """
    height, width = magnitude.shape[-2:]
    padded = F.pad(magnitude, (1, 1, 1, 1))

    def at(down: int, right: int) -> Tensor:
        return padded[..., 1 + down : 1 + down + height, 1 + right : 1 + right + width]

    along_each_axis = [
        (magnitude > at(0, -1)) & (magnitude >= at(0, 1)),
        (magnitude > at(-1, -1)) & (magnitude > at(1, 1)),
        (magnitude > at(-1, 0)) & (magnitude >= at(1, 0)),
        (magnitude > at(-1, 1)) & (magnitude > at(1, -1)),
    ]
    axis = (angle * (4 / math.pi)).round().long() % 4
    return torch.stack(along_each_axis).gather(0, axis.unsqueeze(0)).squeeze(0)


def _connected(weak: Tensor, strong: Tensor) -> Tensor:
    """Hysteresis: the weak pixels connected to a strong one; `strong` is a subset of `weak`.

    The host waits for a GPU in every round, to learn whether there is another.
    """
    while True:
        grown = weak & (F.max_pool2d(strong.float(), 3, stride=1, padding=1) > 0)
        if torch.equal(grown, strong):
            return strong
        strong = grown
