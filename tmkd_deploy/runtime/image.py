"""Decode images, in training and in applications alike."""

from __future__ import annotations

import io
import re
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, UnidentifiedImageError

from tmkd_deploy.runtime.image_limits import MAX_BYTES, MAX_PIXELS, content_problem, size_problem
from tmkd_deploy.runtime.regular_file import read_regular

# formats that Pillow decodes itself; others, such as EPS, would run external programs
FORMATS = ("BMP", "GIF", "JPEG", "PNG", "PPM", "TIFF", "WEBP")
# the brands of HEIF files whose images are HEVC, and those that leave it open
_HEIC = re.compile(rb"....ftyp(?:he(?:ic|ix|im|is|vc|vx|vm|vs)|mif1|msf1)", re.DOTALL)
HEIC_NEEDS = "pip install 'tmkd-deploy[heic]'"
_PIXELS_AT_ONCE = 1 << 20
ORIENTATION = 0x0112  # the EXIF tag
TURNED = (5, 6, 7, 8)  # its values that exchange width and height


class UnreadableImage(ValueError):  # noqa: N818 - names the state of the image
    """An image cannot be decoded; the message is a complete sentence."""


def read_rgb(source: Path | bytes) -> npt.NDArray[np.uint8]:
    """Decode an image file.

    EXIF orientation is applied, grey and palette images become RGB, 16-bit images keep their upper
    eight bits, transparent pixels are blended onto white, and only the first frame is used.

    Args:
        source: path or contents of a PNG, JPEG, BMP, GIF, PPM, WebP or TIFF file, or of a HEIC
            file where pillow-heif is installed. A path leads to a regular file. It has at most
            256 MiB and 67 million pixels, or 33 million as WebP, and one side is at most 100 times
            the other.

    Returns:
        RGB pixels, uint8 [H, W, 3].

    Raises:
        UnreadableImage: the file cannot be opened, is not an image, is damaged, or is too large.
    """
    encoded = _contents(source)
    _refuse(content_problem(encoded))
    try:
        with open_image(encoded) as image:
            return rgb_of(image)
    except UnreadableImage:
        raise
    except MemoryError as error:
        raise UnreadableImage("It takes more memory to decode than is free.") from error
    except Image.DecompressionBombError as error:
        raise UnreadableImage(f"It has more than the allowed {MAX_PIXELS:,} pixels.") from error
    except UnidentifiedImageError as error:
        formats = "PNG, JPEG, BMP, GIF, PPM, WebP or TIFF"
        raise UnreadableImage(f"It is not a {formats} image.") from error
    except Exception as error:
        # Pillow's decoders raise almost any exception on damaged files
        raise UnreadableImage(f"It is damaged: {str(error).rstrip('.')}.") from error


def open_image(encoded: bytes) -> Image.Image:
    """An encoded image of which only the header is read; Pillow's own errors pass through.

    Raises:
        UnreadableImage: it is a HEIC file, and pillow-heif is not installed.
    """
    if not _HEIC.match(encoded):
        return Image.open(io.BytesIO(encoded), formats=FORMATS)
    try:
        from pillow_heif import HeifImageFile  # noqa: PLC0415 - an extra, and few need it
    except ImportError as error:
        raise UnreadableImage(f"It is a HEIC file; to read these, run: {HEIC_NEEDS}.") from error
    # not registered with Pillow: what an application opens elsewhere is its own affair
    image: Image.Image = HeifImageFile(io.BytesIO(encoded))
    return image


def rgb_of(image: Image.Image) -> npt.NDArray[np.uint8]:
    """The pixels of an open image as `read_rgb` returns them; Pillow's own errors pass through."""
    _refuse(size_problem(image.width, image.height, str(image.format)))
    image.load()
    # Pillow applies the orientation of TIFF files itself
    orientation = 1 if image.format == "TIFF" else image.getexif().get(ORIENTATION, 1)
    return _upright(_rgb(image), orientation)


def _contents(source: Path | bytes) -> bytes:
    try:
        encoded = source if isinstance(source, bytes) else read_regular(source, MAX_BYTES)
    except OSError as error:
        raise UnreadableImage(f"It cannot be opened: {error.strerror}.") from error
    if not encoded:
        raise UnreadableImage("It is empty.")
    if len(encoded) > MAX_BYTES:
        raise UnreadableImage(f"It is larger than the allowed {MAX_BYTES >> 20} MiB.")
    return encoded


def _refuse(problem: str | None) -> None:
    if problem:
        raise UnreadableImage(problem)


def _rgb(image: Image.Image) -> npt.NDArray[np.uint8]:
    """Convert a few rows at a time: whole intermediate images would multiply the memory needed."""
    if image.mode == "F":
        raise UnreadableImage("It has floating-point pixels; save it with 8 or 16 bits.")
    pixels = np.empty((image.height, image.width, 3), dtype=np.uint8)
    rows = max(1, _PIXELS_AT_ONCE // image.width)
    for top in range(0, image.height, rows):
        bottom = min(top + rows, image.height)
        pixels[top:bottom] = _strip_to_rgb(image.crop((0, top, image.width, bottom)))
    return pixels


def _strip_to_rgb(strip: Image.Image) -> npt.NDArray[np.uint8]:
    """uint8 [H, W, 3], or [H, W, 1] for grey values of 16 bits."""
    if strip.mode.startswith("I"):
        return _upper_byte(np.asarray(strip))[:, :, np.newaxis]
    if "A" in strip.getbands() or "transparency" in strip.info:
        layered = strip.convert("RGBA")
        white = Image.new("RGBA", layered.size, "white")
        strip = Image.alpha_composite(white, layered)
    return np.asarray(strip.convert("RGB"))


def _upper_byte(grey: npt.NDArray[Any]) -> npt.NDArray[np.uint8]:
    """Map 16-bit integers [H, W] of any type to uint8 [H, W]."""
    if grey.dtype.itemsize > 2 and (grey.min() < 0 or grey.max() > 0xFFFF):
        raise UnreadableImage("It has 32-bit pixels; save it with 8 or 16 bits.")
    upper: npt.NDArray[np.uint8] = (grey >> 8).astype(np.uint8)
    return upper


def _upright(pixels: npt.NDArray[np.uint8], orientation: object) -> npt.NDArray[np.uint8]:
    """Undo the EXIF orientation of `pixels` [H, W, 3]; values other than 2 to 8 mean upright."""
    if orientation in TURNED:
        pixels = pixels.swapaxes(0, 1)
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    return np.ascontiguousarray(pixels)
