"""Decode and resize images: the only preprocessing outside the exported graph.

Training and applications share these functions, so a model sees the same pixels on a device as in
training. Normalisation is part of the exported graph.
"""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps, UnidentifiedImageError

# formats that Pillow decodes itself; others, such as EPS, would run external programs
FORMATS = ("BMP", "JPEG", "PNG", "TIFF", "WEBP")
MAX_PIXELS = 89_478_485  # Pillow's own limit: a quarter of a gigabyte as RGB


class UnreadableImage(ValueError):  # noqa: N818 - names the state of the image
    """An image cannot be decoded; the message is a complete sentence."""


def read_rgb(source: Path | bytes) -> npt.NDArray[np.uint8]:
    """Decode an image file.

    EXIF orientation is applied, grey and palette images become RGB, 16-bit images keep their upper
    eight bits, transparent pixels are blended onto white, and only the first frame is used.

    Args:
        source: path or contents of a PNG, JPEG, BMP, WebP or TIFF file.

    Returns:
        RGB pixels, uint8 [H, W, 3].

    Raises:
        UnreadableImage: the file cannot be opened, is not an image, is damaged, or is too large.
    """
    try:
        encoded = source if isinstance(source, bytes) else source.read_bytes()
    except OSError as error:
        raise UnreadableImage(f"It cannot be opened: {error.strerror}.") from error
    if not encoded:
        raise UnreadableImage("It is empty.")
    try:
        with Image.open(io.BytesIO(encoded), formats=FORMATS) as image:
            return rgb_of(image)
    except UnreadableImage:
        raise
    except Image.DecompressionBombError as error:
        raise UnreadableImage(f"It has more than the allowed {MAX_PIXELS:,} pixels.") from error
    except UnidentifiedImageError as error:
        raise UnreadableImage("It is not a PNG, JPEG, BMP, WebP or TIFF image.") from error
    except Exception as error:
        # Pillow's decoders raise almost any exception on damaged files
        raise UnreadableImage(f"It is damaged: {str(error).rstrip('.')}.") from error


def rgb_of(image: Image.Image) -> npt.NDArray[np.uint8]:
    """The pixels of an open image as `read_rgb` returns them; Pillow's own errors pass through."""
    _refuse_bombs(image)
    if image.format != "TIFF":  # Pillow applies the orientation of TIFF files itself
        return _rgb(ImageOps.exif_transpose(image))
    image.load()
    return _rgb(image)


def resize(image: npt.NDArray[np.uint8], height: int, width: int) -> npt.NDArray[np.uint8]:
    """Resize uint8 [H, W, 3] to uint8 [height, width, 3]; bilinear, antialiased for downscaling."""
    resized = Image.fromarray(image).resize((width, height), Image.Resampling.BILINEAR)
    return np.array(resized)


def _refuse_bombs(image: Image.Image) -> None:
    if image.width * image.height > MAX_PIXELS:
        raise UnreadableImage(
            f"It has {image.width} x {image.height} pixels, more than the allowed {MAX_PIXELS:,}."
        )


def _rgb(image: Image.Image) -> npt.NDArray[np.uint8]:
    if image.mode.startswith("I"):
        return _grey_to_rgb(_upper_byte(np.asarray(image)))
    if image.mode == "F":
        raise UnreadableImage("It has floating-point pixels; save it with 8 or 16 bits.")
    if "A" in image.getbands() or "transparency" in image.info:
        layered = image.convert("RGBA")
        white = Image.new("RGBA", layered.size, "white")
        image = Image.alpha_composite(white, layered)
    return np.array(image.convert("RGB"))


def _upper_byte(grey: npt.NDArray[np.generic]) -> npt.NDArray[np.uint8]:
    """Map 16-bit integers [H, W] of any type to uint8 [H, W]."""
    values = grey.astype(np.int64)
    if values.min() < 0 or values.max() > 0xFFFF:
        raise UnreadableImage("It has 32-bit pixels; save it with 8 or 16 bits.")
    return (values >> 8).astype(np.uint8)


def _grey_to_rgb(grey: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    return np.repeat(grey[:, :, np.newaxis], 3, axis=2)
