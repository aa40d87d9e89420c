"""A block of consecutive images, the unit of work of the decoding processes."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from tmkd_deploy.data.samples import EncodedImage, reading
from tmkd_deploy.errors import DataError
from tmkd_deploy.runtime.image import UnreadableImage, read_rgb
from tmkd_deploy.runtime.preprocess import Preprocessing

Pixels = npt.NDArray[np.uint8]
# SHA-256 of an image's pixels before resizing, or why it could not be decoded
Outcome = str | UnreadableImage


@dataclass(frozen=True)
class Block:
    """Encoded images for the rows from `first` on, with human-readable keys."""

    first: int
    keys: Sequence[str]
    images: Sequence[EncodedImage]
    preprocess: Preprocessing

    def described(self, position: int) -> str:
        """The image at `position` of this block, for messages."""
        return f"image {self.first + position + 1}, {self.keys[position]!r}"


def decode_block(
    block: Block, rows: Pixels, started: Callable[[int], None] = lambda _: None
) -> list[Outcome]:
    """Decode a block's images into their rows of `rows`, uint8 [N, H, W, 3]; return their outcomes.

    `started` is called with the position of each image in the block before it is read.

    Raises:
        DataError: the source itself cannot be read.
    """
    outcomes: list[Outcome] = []
    for position, (key, image) in enumerate(zip(block.keys, block.images, strict=True)):
        started(position)
        outcomes.append(_decode(_read(key, image), block.preprocess, rows[block.first + position]))
    return outcomes


def _read(key: str, image: EncodedImage) -> bytes:
    try:
        with reading(Path(key), f"The image {key!r}"):
            return image.read()
    except MemoryError as error:
        raise DataError(
            f"The image {key!r} takes more memory to read than is free.",
            advice="Remove it, or free some memory.",
        ) from error


def _decode(encoded: bytes, preprocess: Preprocessing, row: Pixels) -> Outcome:
    try:
        image = read_rgb(encoded)
    except UnreadableImage as error:
        return error
    digest = hashlib.sha256(f"{image.shape[0]}x{image.shape[1]}\n".encode())
    digest.update(image.data)
    row[:] = preprocess(image)
    return digest.hexdigest()
