"""Images of four classes, stripes in four directions, and never the same ones twice.

The agent keeps the logits of images that it has seen; new images are really run.
"""

from __future__ import annotations

import numpy as np

CLASSES = 4
_NOISE = 10.0


def striped(count: int, side: int, seed: int) -> np.ndarray:
    """Pixels uint8 [count, side, side, 3]; the class of image i is i % `CLASSES`."""
    random = np.random.default_rng(seed)
    rows, columns = np.mgrid[:side, :side] * (2 * np.pi / side)
    images = np.empty((count, side, side, 3), np.uint8)
    for index in range(count):
        angle = np.pi * (index % CLASSES) / CLASSES + random.normal(0, 0.03)
        waves = random.uniform(3.0, 5.0)
        phase = waves * (np.cos(angle) * rows + np.sin(angle) * columns) + random.uniform(0, 6.28)
        colour, ground = random.uniform(30, 110, 3), random.uniform(90, 160, 3)
        pixels = ground + colour * np.sin(phase)[..., None]
        pixels += random.normal(0, _NOISE, pixels.shape)
        images[index] = pixels.round().clip(0, 255)
    return images
