"""From an image file to the uint8 pixels a model takes: the one preprocessing outside the graph.

Training data and applications both go through these two functions, so that a model sees the same
pixels on a device as it did in training. Normalisation is part of the exported graph.
"""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps, UnidentifiedImageError

# Formats decoded by Pillow itself; others (EPS, say) would start foreign programs on input data.
FORMATS = ("BMP", "JPEG", "PNG", "TIFF", "WEBP")
MOST_PIXELS = 89_478_485  # Pillow's own bound: a quarter of a gigabyte as RGB


class UnreadableImage(ValueError):  # noqa: N818 - it names a state of the image, as an error should
    """The image cannot be decoded; the message is a complete sentence that says why."""


def read_rgb(source: Path | bytes) -> npt.NDArray[np.uint8]:
    """Decode an encoded image (a file or its bytes) to uint8 RGB of shape [H, W, 3].

    EXIF orientation is applied; grey and palette images become RGB, 16-bit images keep their upper
    eight bits, transparent pixels are laid on white. Of several frames the first is taken.

    Raises:
        UnreadableImage: the file cannot be opened, is no image, is damaged, or is too large.
    """
    try:
        encoded = source if isinstance(source, bytes) else source.read_bytes()
    except OSError as error:
        raise UnreadableImage(f"It cannot be opened: {error.strerror}.") from error
    if not encoded:
        raise UnreadableImage("It is empty.")
    try:
        with Image.open(io.BytesIO(encoded), formats=FORMATS) as image:
            _refuse_bombs(image)
            if image.format != "TIFF":  # Pillow turns those itself, and early versions twice
                return _rgb(ImageOps.exif_transpose(image))
            image.load()
            return _rgb(image)
    except UnreadableImage:
        raise
    except Image.DecompressionBombError as error:
        raise UnreadableImage(f"It has more than the {MOST_PIXELS:,} pixels allowed.") from error
    except UnidentifiedImageError as error:
        raise UnreadableImage("It is not a PNG, JPEG, BMP, WebP or TIFF image.") from error
    except Exception as error:
        # Pillow's decoders raise exceptions of almost any type on damaged files.
        raise UnreadableImage(f"It is damaged: {str(error).rstrip('.')}.") from error


def resize(image: npt.NDArray[np.uint8], height: int, width: int) -> npt.NDArray[np.uint8]:
    """Resize uint8 [H, W, 3] to uint8 [height, width, 3]: bilinear, antialiased when shrinking."""
    resized = Image.fromarray(image).resize((width, height), Image.Resampling.BILINEAR)
    return np.array(resized)


def _refuse_bombs(image: Image.Image) -> None:
    if image.width * image.height > MOST_PIXELS:
        raise UnreadableImage(
            f"It is {image.width} x {image.height} pixels, more than the {MOST_PIXELS:,} allowed."
        )


def _rgb(image: Image.Image) -> npt.NDArray[np.uint8]:
    if image.mode.startswith("I"):
        return _grey_to_rgb(_upper_byte(np.asarray(image)))
    if image.mode == "F":
        raise UnreadableImage("It holds floating-point pixels; save it with 8 or 16 bits.")
    if "A" in image.getbands() or "transparency" in image.info:
        layered = image.convert("RGBA")
        white = Image.new("RGBA", layered.size, "white")
        image = Image.alpha_composite(white, layered)
    return np.array(image.convert("RGB"))


def _upper_byte(grey: npt.NDArray[np.generic]) -> npt.NDArray[np.uint8]:
    """Integers [H, W] of 16 bits, in whatever type Pillow holds them, to uint8 [H, W]."""
    values = grey.astype(np.int64)
    if values.min() < 0 or values.max() > 0xFFFF:
        raise UnreadableImage("It holds 32-bit pixels; save it with 8 or 16 bits.")
    return (values >> 8).astype(np.uint8)


def _grey_to_rgb(grey: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    return np.repeat(grey[:, :, np.newaxis], 3, axis=2)
