"""From RGB pixels of any size to the engine's input: the same in training and in an application.

Normalisation is not part of it: that is in the exported graph.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
from PIL import Image

ResizeMode = Literal["squash", "letterbox", "crop"]

# Mid-grey: close to zero after any usual normalisation, exactly zero after ours.
PADDING = 128


@dataclass(frozen=True)
class Preprocessing:
    """How images become inputs of `height` x `width` pixels.

    `squash` scales both sides on their own, which distorts shapes. `letterbox` keeps the whole
    image and its shapes, centred between bars of `PADDING`. `crop` keeps shapes and fills the
    input with the centre of the image. With `grayscale`, the three channels are the luma of ITU-R
    BT.601, 0.299 R + 0.587 G + 0.114 B.
    """

    height: int
    width: int
    resize: ResizeMode = "squash"
    grayscale: bool = False

    def __call__(self, image: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
        """RGB uint8 [H, W, 3] to uint8 [height, width, 3]; bilinear, antialiased to be smaller.

        An image that has the size already may be returned itself. The reversed channels of BGR
        pixels, and one channel that was broadcast to three, are read as they lie in memory.
        """
        if image.shape[:2] == (self.height, self.width) and not self.grayscale:
            return image
        whole = _pillow(image)
        height, width = self.height, self.width
        if self.resize == "letterbox":
            height, width = self._fitted(whole.height, whole.width)
        box = self._centre(whole.height, whole.width) if self.resize == "crop" else None
        resized = whole.resize((width, height), Image.Resampling.BILINEAR, box)
        if self.grayscale:
            resized = resized.convert("L")
        if resized.mode != "RGB":
            resized = resized.convert("RGB")
        if (height, width) == (self.height, self.width):
            return np.asarray(resized)
        padded = np.full((self.height, self.width, 3), PADDING, dtype=np.uint8)
        top, left = (self.height - height) // 2, (self.width - width) // 2
        padded[top : top + height, left : left + width] = np.asarray(resized)
        return padded

    def _fitted(self, height: int, width: int) -> tuple[int, int]:
        """The largest size of this shape that fits the input; integers, so no rounding differs."""
        if width * self.height >= height * self.width:
            return max(1, (2 * height * self.width + width) // (2 * width)), self.width
        return self.height, max(1, (2 * width * self.height + height) // (2 * height))

    def _centre(self, height: int, width: int) -> tuple[float, float, float, float]:
        """Left, top, right and bottom of the largest centred box of the input's shape."""
        box_width = min(float(width), height * self.width / self.height)
        box_height = min(float(height), width * self.height / self.width)
        left, top = (width - box_width) / 2, (height - box_height) / 2
        return left, top, left + box_width, top + box_height


def _pillow(image: npt.NDArray[np.uint8]) -> Image.Image:
    """RGB uint8 [H, W, 3] for Pillow, in mode L if its channels are one and the same."""
    if image.strides[2] == 0:
        return Image.fromarray(image[:, :, 0])
    bgr = image[:, :, ::-1]
    if bgr.flags.c_contiguous:
        return Image.frombuffer("RGB", bgr.shape[1::-1], bgr, "raw", "BGR", 0, 1)
    return Image.fromarray(image)
