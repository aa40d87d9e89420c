"""From whatever an application calls an image to RGB pixels."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from tmkd_deploy.runtime.image import UnreadableImage, read_rgb, rgb_of
from tmkd_deploy.runtime.image_limits import MAX_BYTES, size_problem

ImageInput = str | Path | bytes | bytearray | memoryview | Image.Image | npt.NDArray[np.uint8]

_SHAPES = "[height, width], [height, width, 1], [height, width, 3] or [height, width, 4]"


def pixels_of(image: object, colour: str) -> npt.NDArray[np.uint8]:
    """RGB pixels, uint8 [H, W, 3], of anything that `ImageInput` allows.

    Those of an array are a view of it, in any order of memory, unless it has transparent pixels.

    Args:
        image: what to decode or convert.
        colour: the order of an array's channels, "RGB" or "BGR".

    Raises:
        UnreadableImage: it cannot be decoded, or is something else.
    """
    if isinstance(image, np.ndarray):
        return _of_array(image, colour)
    if colour != "RGB":
        raise UnreadableImage(
            f"`colour` is {colour!r}, which is for arrays with 3 or 4 channels only; files and "
            "Pillow images state their own order."
        )
    if isinstance(image, str | Path):
        return read_rgb(Path(image))
    if isinstance(image, bytes | bytearray | memoryview):
        return read_rgb(_bytes(image))
    if isinstance(image, Image.Image):
        return _of_pillow(image)
    raise UnreadableImage(
        f"It is of type {type(image).__name__}; pass the path of an image file, the bytes of such "
        f"a file, a Pillow image, or a uint8 array of shape {_SHAPES}."
    )


def _bytes(encoded: bytes | bytearray | memoryview) -> bytes:
    try:
        if memoryview(encoded).nbytes <= MAX_BYTES:
            return bytes(encoded)
    except (ValueError, TypeError) as error:
        raise UnreadableImage(f"Its memory cannot be read: {error}.") from error
    raise UnreadableImage(f"It is larger than the allowed {MAX_BYTES >> 20} MiB.")


def _of_pillow(image: Image.Image) -> npt.NDArray[np.uint8]:
    try:
        if not image.width * image.height:
            raise UnreadableImage("It has no pixels.")
        return rgb_of(image)
    except UnreadableImage:
        raise
    except Exception as error:
        # a Pillow image may be closed, or still have to be decoded
        raise UnreadableImage(f"Pillow cannot decode it: {str(error).rstrip('.')}.") from error


def _of_array(image: npt.NDArray[Any], colour: str) -> npt.NDArray[np.uint8]:
    if image.dtype != np.uint8:
        raise UnreadableImage(f"It is {_shape_and_type(image)}; {_advice(image)}.")
    channels = image.shape[2] if image.ndim == 3 else 1
    if image.ndim not in (2, 3) or channels not in (1, 3, 4):
        raise UnreadableImage(f"It is {_shape_and_type(image)}; arrays must have shape {_SHAPES}.")
    if hasattr(image, "mask"):  # numpy.ma takes a while to import, and need not be
        raise UnreadableImage("It is a masked array; fill the masked pixels first.")
    height, width = image.shape[:2]
    if not height * width:
        raise UnreadableImage("It has no pixels.")
    if problem := size_problem(width, height, "array"):
        raise UnreadableImage(problem)
    return _rgb(np.asarray(image), channels, colour)


def _rgb(image: npt.NDArray[np.uint8], channels: int, colour: str) -> npt.NDArray[np.uint8]:
    if channels == 1:
        if colour != "RGB":
            raise UnreadableImage(
                f"`colour` is {colour!r}, but it is a greyscale array, which has no colours."
            )
        return np.broadcast_to(image.reshape(*image.shape[:2], 1), (*image.shape[:2], 3))
    # transparent pixels are blended as those of a file
    opaque = image if channels == 3 else rgb_of(Image.fromarray(image))
    return opaque[:, :, ::-1] if colour == "BGR" else opaque


def _shape_and_type(image: npt.NDArray[Any]) -> str:
    return f"an array of type {str(image.dtype)[:60]} and shape {list(image.shape)}"


def _advice(image: npt.NDArray[Any]) -> str:
    if image.dtype.kind == "f":
        return (
            "arrays must be uint8 with values from 0 to 255. If its values run from 0 to 1, pass "
            "(image * 255).round().astype(np.uint8)"
        )
    return "arrays must be uint8 with values from 0 to 255"
