"""Small image folders whose classes are easy to tell apart."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

CLASSES = ("across", "down", "plain")


def image_of(kind: str, random: np.random.Generator, size: int = 32) -> Image.Image:
    """One image of the class `kind`; no two have the same pixels."""
    place = np.arange(size)
    wave = 90 * np.sign(np.sin(place * random.uniform(0.7, 1.0) + random.uniform(0, 6)))
    relief = {
        "across": np.tile(wave[:, None], (1, size)),
        "down": np.tile(wave[None, :], (size, 1)),
        "plain": np.zeros((size, size)),
    }[kind]
    pixels = 128 + relief[..., None] * random.uniform(0.5, 1.0, 3)
    pixels = pixels + random.normal(0, 12, (size, size, 3))
    return Image.fromarray(pixels.clip(0, 255).astype(np.uint8))


def write_folder(root: Path, per_class: int, seed: int, size: int = 32) -> Path:
    """`per_class` PNG images of every class, under `root/<class>`."""
    random = np.random.default_rng(seed)
    for kind in CLASSES:
        folder = root / kind
        folder.mkdir(parents=True)
        for number in range(per_class):
            image_of(kind, random, size).save(folder / f"{number:03}.png")
    return root
