"""A block of consecutive images, the unit of work of the decoding processes."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from tmkd_deploy.data.samples import EncodedImage, reading
from tmkd_deploy.runtime.image import UnreadableImage, read_rgb, resize

Pixels = npt.NDArray[np.uint8]
# SHA-256 of an image's pixels before resizing, or why it could not be decoded
Outcome = str | UnreadableImage


@dataclass(frozen=True)
class Block:
    """Encoded images for the rows from `first` on, with human-readable keys."""

    first: int
    keys: Sequence[str]
    images: Sequence[EncodedImage]

    def __str__(self) -> str:
        last = self.first + len(self.keys) - 1
        return (
            f"images {self.first + 1} to {last + 1}, {self.keys[0]!r} to {self.keys[-1]!r}"
            if len(self.keys) > 1
            else f"image {self.first + 1}, {self.keys[0]!r}"
        )


def decode_block(block: Block, rows: Pixels) -> list[Outcome]:
    """Decode a block's images into their rows of `rows`, uint8 [N, S, S, 3]; return their outcomes.

    Raises:
        DataError: the source itself cannot be read.
    """
    return [
        _decode(_read(key, image), rows[row])
        for row, (key, image) in enumerate(
            zip(block.keys, block.images, strict=True), start=block.first
        )
    ]


def _read(key: str, image: EncodedImage) -> bytes:
    with reading(Path(key), f"The image {key!r}"):
        return image.read()


def _decode(encoded: bytes, row: Pixels) -> Outcome:
    try:
        image = read_rgb(encoded)
    except UnreadableImage as error:
        return error
    digest = hashlib.sha256(f"{image.shape[0]}x{image.shape[1]}\n".encode())
    digest.update(image.data)
    row[:] = resize(image, row.shape[0], row.shape[1])
    return digest.hexdigest()
