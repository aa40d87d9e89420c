"""Near-duplicates: re-encoded, rescaled or re-lit copies, and neighbouring frames of one scene.

Two images are near-duplicates if their perceptual hashes differ in few bits, and their thumbnails
correlate as well: the hash alone also matches images that share no more than a layout.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image

from tmkd_deploy.data.block import Pixels
from tmkd_deploy.errors import MissingExtra
from tmkd_deploy.events import Events
from tmkd_deploy.runtime.preprocess import PADDING

# Chosen on four data sets whose repeats are known: up to here, pairs in NEU-DET and Caltech-101 are
# copies, and those in Magnetic Tile are exposures of one tile; beyond, unrelated images follow.
MAX_HASH_DISTANCE = 8  # of 64 bits
MIN_CORRELATION = 0.97
MAX_IMAGES = 100_000  # comparing all pairs of more would take minutes
_MAX_PAIRS_PER_IMAGE = 50  # more are no copies, but a scene that never changes
_THUMBNAIL = 16
_ROWS_AT_A_TIME = 128  # 0.1 GB of differences at most


@dataclass(frozen=True, slots=True)
class NearDuplicates:
    """Two images by their position, first < second, and the correlation of their thumbnails."""

    first: int
    second: int
    correlation: float


def find_near_duplicates(
    images: Pixels, rows: Sequence[int], events: Events
) -> list[NearDuplicates]:
    """The pairs of near-duplicates among `images[rows]`, exact duplicates included.

    The search ends once there are `_MAX_PAIRS_PER_IMAGE` pairs for each image.

    Args:
        images: RGB, uint8 [N, H, W, 3].
        rows: the images to compare, at most `MAX_IMAGES`; results are positions in this sequence.
        events: receives progress.

    Raises:
        MissingExtra: ImageHash is not installed.
    """
    try:
        import imagehash  # noqa: PLC0415 - needed only to search, and it imports SciPy
    except ModuleNotFoundError as error:
        raise MissingExtra("The search for near-duplicates", "train", "ImageHash") from error

    hashes = np.empty(len(rows), dtype=np.uint64)
    thumbnails = np.empty((len(rows), _THUMBNAIL**2), dtype=np.float32)
    task = events.begin("Looking for near-duplicates", len(rows), "images")
    try:
        for place, row in enumerate(rows):
            image = Image.fromarray(_without_bars(images[row])).convert("L")
            hashes[place] = np.packbits(imagehash.phash(image).hash).view(np.uint64)[0]
            thumbnails[place] = _thumbnail(image)
            task.advance()
    finally:
        task.finish()
    pairs = (
        NearDuplicates(first, second, correlation)
        for first, second in _similar_hashes(hashes)
        if (correlation := float(thumbnails[first] @ thumbnails[second])) >= MIN_CORRELATION
    )
    return list(itertools.islice(pairs, _MAX_PAIRS_PER_IMAGE * len(rows)))


def _without_bars(image: Pixels) -> Pixels:
    """Leave out the bars of letterboxed images [H, W, 3]: equal bars are no likeness."""
    filled = (image != PADDING).any(axis=2)
    rows, columns = np.flatnonzero(filled.any(axis=1)), np.flatnonzero(filled.any(axis=0))
    if not len(rows):
        return image
    return image[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]


def _thumbnail(image: Image.Image) -> npt.NDArray[np.float32]:
    """Grey values [256] with mean 0 and norm 1; all zero for an image of one colour."""
    small = image.resize((_THUMBNAIL, _THUMBNAIL), Image.Resampling.BOX)
    values: npt.NDArray[np.float32] = np.asarray(small, dtype=np.float32).ravel()
    values = values - np.float32(values.mean())
    norm = np.float32(np.linalg.norm(values))
    if norm:
        values = values / norm
    return values


def _similar_hashes(hashes: npt.NDArray[np.uint64]) -> Iterator[tuple[int, int]]:
    """Pairs (i, j), i < j, of hashes that differ in at most `MAX_HASH_DISTANCE` bits."""
    for start in range(0, len(hashes), _ROWS_AT_A_TIME):
        block = hashes[start : start + _ROWS_AT_A_TIME]
        differing = _bit_counts(block[:, np.newaxis] ^ hashes[np.newaxis, start:])
        for i, j in np.argwhere(np.triu(differing <= MAX_HASH_DISTANCE, k=1)):
            yield start + int(i), start + int(j)


def _bit_counts(values: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint8]:
    """The number of set bits of each value."""
    counts: npt.NDArray[np.uint8]
    if hasattr(np, "bitwise_count"):  # NumPy 2
        counts = np.bitwise_count(values)
        return counts
    as_bytes = values[..., np.newaxis].view(np.uint8)
    counts = _BITS_OF_BYTE[as_bytes].sum(axis=-1, dtype=np.uint8)
    return counts


_BITS_OF_BYTE = np.array([byte.bit_count() for byte in range(256)], dtype=np.uint8)
