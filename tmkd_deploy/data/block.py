"""A run of neighbouring images, decoded by whichever process it is given to."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tmkd_deploy.data.samples import Encoded
from tmkd_deploy.errors import DataError
from tmkd_deploy.runtime.image import UnreadableImage, read_rgb, resize

Pixels = npt.NDArray[np.uint8]
Outcome = str | UnreadableImage  # SHA-256 of an image's pixels before resizing, or why it has none


@dataclass(frozen=True)
class Block:
    """Encoded images for the rows from `first` on; `keys` name them for people."""

    first: int
    keys: Sequence[str]
    images: Sequence[Encoded]

    def __str__(self) -> str:
        last = self.first + len(self.keys) - 1
        return (
            f"the images {self.first + 1} to {last + 1}, {self.keys[0]!r} to {self.keys[-1]!r}"
            if len(self.keys) > 1
            else f"the image {self.first + 1}, {self.keys[0]!r}"
        )


def decode_block(block: Block, rows: Pixels) -> list[Outcome]:
    """Decode a block's images into their rows of `rows`, uint8 [N, S, S, 3]; one outcome each.

    Raises:
        DataError: the source itself cannot be read.
    """
    return [
        _decode(_read(key, image), rows[row])
        for row, (key, image) in enumerate(
            zip(block.keys, block.images, strict=True), start=block.first
        )
    ]


def _read(key: str, image: Encoded) -> bytes:
    try:
        return image.read()
    except OSError as error:
        raise DataError(
            f"The image {key!r} cannot be read: {error.strerror or error}.",
            where=str(error.filename or key),
            advice="Check that it is there and that you may read it.",
        ) from error


def _decode(encoded: bytes, row: Pixels) -> Outcome:
    try:
        image = read_rgb(encoded)
    except UnreadableImage as error:
        return error
    digest = hashlib.sha256(f"{image.shape[0]}x{image.shape[1]}\n".encode())
    digest.update(image.data)
    row[:] = resize(image, row.shape[0], row.shape[1])
    return digest.hexdigest()
