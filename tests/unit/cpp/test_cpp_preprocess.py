"""The C++ runtime sees the pixels that training saw, bit for bit."""

from __future__ import annotations

import struct
from typing import get_args

import numpy as np
import PIL
from cpp_build import Built

from tmkd_deploy.runtime.preprocess import Preprocessing, ResizeMode

MODES = get_args(ResizeMode)
IMAGES = 1000
# earlier releases always scale columns before rows, which may round the last bit differently
ALLOWED = 0 if int(PIL.__version__.split(".")[0]) >= 13 else 1
WORST = ((1, 1), (1, 100), (100, 1), (2, 3), (97, 301), (301, 97), (480, 640), (640, 480))
TARGETS = ((1, 1), (32, 32), (31, 33), (224, 224), (96, 160), (160, 96), (7, 300))


def preprocessed(
    built: Built, requests: list[tuple[Preprocessing, np.ndarray]]
) -> list[np.ndarray]:
    """What the library makes of each image."""
    given = b"".join(
        struct.pack(
            "<6i", to.height, to.width, MODES.index(to.resize), to.grayscale, *image.shape[:2]
        )
        + image.tobytes()
        for to, image in requests
    )
    flat = np.frombuffer(built.probe("preprocess", given=given), np.uint8)
    sizes = [to.height * to.width * 3 for to, _ in requests]
    parts = np.split(flat, np.cumsum(sizes)[:-1])
    return [
        part.reshape(to.height, to.width, 3) for part, (to, _) in zip(parts, requests, strict=True)
    ]


def test_every_pixel_of_random_images_is_pillows(built: Built) -> None:
    random = np.random.default_rng(0)
    requests = []
    for number in range(IMAGES):
        if number < len(WORST) * len(TARGETS):
            size, target = WORST[number % len(WORST)], TARGETS[number // len(WORST)]
        else:  # sides of any length are as likely in every order of magnitude
            size = tuple(np.exp(random.uniform(0, np.log(400), 2)).astype(int))
            target = tuple(np.exp(random.uniform(0, np.log(256), 2)).astype(int))
        to = Preprocessing(int(target[0]), int(target[1]), MODES[number % 3], bool(number % 5 == 0))
        image = random.integers(0, 256, (*size, 3), dtype=np.uint8)
        if number % 2:  # extremes, where rounding and clipping show
            image = np.where(image > 127, 255, 0).astype(np.uint8)
        requests.append((to, image))
    for (to, image), found in zip(requests, preprocessed(built, requests), strict=True):
        difference = int(np.abs(found.astype(np.int16) - to(image)).max())
        assert difference <= ALLOWED, f"{image.shape} to {to} differs by {difference}"
