"""The three views of an image: RGB, edge-enhanced and high-frequency."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from tmkd_deploy.distill.filters import canny, gaussian_blur, sobel_gradient
from tmkd_deploy.distill.settings import ViewSettings
from tmkd_deploy.records.types import VIEWS, View


def make_views(images: Tensor, settings: ViewSettings, views: list[View]) -> Tensor:
    """All `views` of each image in one tensor, on the images' device.

    Args:
        images: [N, 3, H, W], float in [0, 1].
        settings: how the edge and high-frequency views are computed.
        views: the views to compute, in this order.

    Returns:
        [V, N, 3, H, W], float in [0, 1].
    """
    return torch.stack([_MAKERS[view](images, settings) for view in views])


def one_view_each(images: Tensor, settings: ViewSettings, view_indices: Tensor) -> Tensor:
    """View VIEWS[view_indices[i]] of image i, for images [N, 3, H, W] in [0, 1].

    Training on one random view per image costs a third of training on all three.
    """
    result = torch.empty_like(images)
    for index, view in enumerate(VIEWS):
        rows = (view_indices == index).to(images.device)
        if rows.any():
            result[rows] = _MAKERS[view](images[rows], settings)
    return result


def edge(images: Tensor, settings: ViewSettings) -> Tensor:
    """The image plus `edge_strength` times its normalised gradient magnitude, clipped to [0, 1].

    Sobel: the gradient magnitude of the grey image, divided by its maximum. Canny: thinned binary
    edges. An image without gradients is returned unchanged.
    """
    grey = images.mean(dim=1, keepdim=True)
    if settings.edge == "sobel":
        magnitude = torch.linalg.vector_norm(sobel_gradient(grey), dim=1, keepdim=True)
        largest = magnitude.amax(dim=(2, 3), keepdim=True)
        # rounding leaves a faint gradient in a flat image; that is not an edge
        outline = torch.where(largest > 1e-4, magnitude / largest.clamp(min=1e-4), 0.0)
    else:
        outline = canny(grey)
    return (images + settings.edge_strength * outline).clamp(0.0, 1.0)


def high_frequency(images: Tensor, settings: ViewSettings) -> Tensor:
    """The high-pass part of the image, added to mid-grey or to the image, clipped to [0, 1]."""
    low_pass = _low_pass_fft if settings.freq == "fft" else _low_pass_gaussian
    low = low_pass(images, settings.freq_cutoff)
    base = images if settings.freq_base == "image" else torch.full_like(images, 0.5)
    return (base + images - low).clamp(0.0, 1.0)


def _unchanged(images: Tensor, settings: ViewSettings) -> Tensor:
    return images


_MAKERS: dict[View, Callable[[Tensor, ViewSettings], Tensor]] = {
    "rgb": _unchanged,
    "edge": edge,
    "freq": high_frequency,
}


def _low_pass_fft(images: Tensor, cutoff: float) -> Tensor:
    """Keep frequencies up to a radius of `cutoff` times the Nyquist frequency."""
    height, width = images.shape[-2:]
    vertical = torch.fft.fftfreq(height, device=images.device)[:, None]
    horizontal = torch.fft.rfftfreq(width, device=images.device)[None, :]
    mask = (vertical**2 + horizontal**2).sqrt() <= cutoff * 0.5
    spectrum = torch.fft.rfft2(images) * mask
    low: Tensor = torch.fft.irfft2(spectrum, s=(height, width))
    return low


def _low_pass_gaussian(images: Tensor, cutoff: float) -> Tensor:
    """Gaussian blur whose frequency response is 0.5 at the cut-off frequency."""
    sigma = math.sqrt(2 * math.log(2)) / (math.pi * cutoff)
    radius = min(int(3 * sigma), min(images.shape[-2:]) - 1)
    return gaussian_blur(images, sigma, radius)
