"""Images and sizes for them, and what the C++ runtime makes of them."""

from __future__ import annotations

import struct
from typing import get_args

import numpy as np
from cpp_build import Built

from tmkd_deploy.runtime.preprocess import Preprocessing, ResizeMode

MODES = get_args(ResizeMode)
WORST = ((1, 1), (1, 100), (100, 1), (2, 3), (97, 301), (301, 97), (480, 640), (640, 480))
TARGETS = ((1, 1), (32, 32), (31, 33), (224, 224), (96, 160), (160, 96), (7, 300))

Request = tuple[Preprocessing, np.ndarray]


def random_requests(count: int) -> list[Request]:
    """The worst sizes first, then random ones."""
    random = np.random.default_rng(0)
    requests = []
    for number in range(count):
        if number < len(WORST) * len(TARGETS):
            size, target = WORST[number % len(WORST)], TARGETS[number // len(WORST)]
        else:  # sides of any length are as likely in every order of magnitude
            size = tuple(np.exp(random.uniform(0, np.log(400), 2)).astype(int))
            target = tuple(np.exp(random.uniform(0, np.log(256), 2)).astype(int))
        to = Preprocessing(int(target[0]), int(target[1]), MODES[number % 3], number % 5 == 0)
        image = random.integers(0, 256, (*size, 3), dtype=np.uint8)
        if number % 2:  # extremes, where rounding and clipping show
            image = np.where(image > 127, 255, 0).astype(np.uint8)
        requests.append((to, image))
    return requests


def preprocessed(built: Built, requests: list[Request]) -> list[np.ndarray]:
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
