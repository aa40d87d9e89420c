"""The three views of an image: RGB, edge-enhanced, high-frequency."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from tmkd_deploy.distill.settings import ViewSettings
from tmkd_deploy.records.types import VIEWS, View


def make_views(images: Tensor, settings: ViewSettings, views: list[View]) -> Tensor:
    """All `views` of each image in one tensor, on the device the images are on.

    Args:
        images: [N, 3, H, W], float in [0, 1].
        settings: how edges and high frequencies are made.
        views: which views, in which order.

    Returns:
        [V, N, 3, H, W], float in [0, 1].
    """
    return torch.stack([_MAKERS[view](images, settings) for view in views])


def one_view_each(images: Tensor, settings: ViewSettings, shown: Tensor) -> Tensor:
    """View number `shown[i]` (an index into VIEWS) of image i, for images [N, 3, H, W] in [0, 1].

    Training on one view drawn for each image costs a third of showing all three.
    """
    result = torch.empty_like(images)
    for index, view in enumerate(VIEWS):
        rows = (shown == index).to(images.device)
        if rows.any():
            result[rows] = _MAKERS[view](images[rows], settings)
    return result


def edge(images: Tensor, settings: ViewSettings) -> Tensor:
    """The image plus `edge_strength` times its normalised gradient magnitude, clipped to [0, 1].

    Sobel: the gradient magnitude of the grey image over its own maximum. Canny: the thinned binary
    edges. An image without any gradient stays as it is.
    """
    grey = images.mean(dim=1, keepdim=True)
    if settings.edge == "sobel":
        magnitude = _sobel_magnitude(grey)
        largest = magnitude.amax(dim=(2, 3), keepdim=True)
        # rounding leaves a flat image a faint gradient, which is no edge
        outline = torch.where(largest > 1e-4, magnitude / largest.clamp(min=1e-4), 0.0)
    else:
        from kornia.filters import canny  # noqa: PLC0415 - Sobel and FFT do without kornia

        _, outline = canny(grey)
    return (images + settings.edge_strength * outline).clamp(0.0, 1.0)


def high_frequency(images: Tensor, settings: ViewSettings) -> Tensor:
    """The high-pass part of the image, around mid-grey or added back, clipped to [0, 1]."""
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


def _sobel_magnitude(grey: Tensor) -> Tensor:
    """The length of Sobel's gradient [N, 1, H, W], the border repeated outwards."""
    horizontal = torch.tensor([[-1.0, 0.0, 1.0], [-2.0, 0.0, 2.0], [-1.0, 0.0, 1.0]]) / 8
    kernels = torch.stack([horizontal, horizontal.T]).unsqueeze(1).to(grey)
    gradient = F.conv2d(F.pad(grey, (1, 1, 1, 1), mode="replicate"), kernels)
    magnitude: Tensor = torch.linalg.vector_norm(gradient, dim=1, keepdim=True)
    return magnitude


def _low_pass_fft(images: Tensor, cutoff: float) -> Tensor:
    """Keep the frequencies whose radius is at most `cutoff` times the Nyquist frequency."""
    height, width = images.shape[-2:]
    vertical = torch.fft.fftfreq(height, device=images.device)[:, None]
    horizontal = torch.fft.rfftfreq(width, device=images.device)[None, :]
    kept = (vertical**2 + horizontal**2).sqrt() <= cutoff * 0.5
    spectrum = torch.fft.rfft2(images) * kept
    low: Tensor = torch.fft.irfft2(spectrum, s=(height, width))
    return low


def _low_pass_gaussian(images: Tensor, cutoff: float) -> Tensor:
    """Blur so that the Gaussian's response falls to one half at the cut-off frequency."""
    from kornia.filters import gaussian_blur2d  # noqa: PLC0415 - Sobel and FFT do without kornia

    sigma = (2 * torch.log(torch.tensor(2.0))).sqrt().item() / (torch.pi * cutoff)
    reach = min(int(3 * sigma), min(images.shape[-2:]) - 1)
    size = (2 * reach + 1, 2 * reach + 1)
    low: Tensor = gaussian_blur2d(images, size, (sigma, sigma), "reflect")
    return low
