"""Mean and standard deviation of the training images, which `data.mean: auto` asks for."""

from __future__ import annotations

import numpy as np

from tmkd_deploy.data.block import Pixels

_LEAST_STD = 1 / 255  # of images of a single colour, so that nothing is divided by zero
_DECIMALS = 4


def channel_statistics(images: Pixels) -> tuple[list[float], list[float]]:
    """Means and standard deviations of the channels over all pixels, as shares of 255.

    Args:
        images: RGB, uint8 [N, H, W, 3], N >= 1.
    """
    counts = np.zeros((3, 256), dtype=np.int64)
    for image in images:
        for channel in range(3):
            counts[channel] += np.bincount(image[..., channel].ravel(), minlength=256)
    levels = np.arange(256) / 255
    means = counts @ levels / counts.sum(axis=1)
    variances = counts @ levels**2 / counts.sum(axis=1) - means**2
    stds = np.sqrt(np.maximum(variances, _LEAST_STD**2))
    return means.round(_DECIMALS).tolist(), stds.round(_DECIMALS).tolist()
