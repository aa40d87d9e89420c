"""The C++ runtime sees the pixels that training saw, bit for bit."""

from __future__ import annotations

import numpy as np
import PIL
from cpp_build import Built
from resizing import preprocessed, random_requests

IMAGES = 1000
# earlier releases always scale columns before rows, which may round the last bit differently
ALLOWED = 0 if int(PIL.__version__.split(".")[0]) >= 13 else 1


def test_every_pixel_of_random_images_is_pillows(built: Built) -> None:
    requests = random_requests(IMAGES)
    for (to, image), found in zip(requests, preprocessed(built, requests), strict=True):
        difference = int(np.abs(found.astype(np.int16) - to(image)).max())
        assert difference <= ALLOWED, f"{image.shape} to {to} differs by {difference}"
