"""Every image decoded once: resized pixels into a file, a hash of the original pixels beside."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from tmkd_deploy.data.records import Records, Sample
from tmkd_deploy.errors import DataError
from tmkd_deploy.events import Events, track
from tmkd_deploy.runtime.image import UnreadableImage, read_rgb, resize

BATCH = 64  # encoded images in memory at a time
Pixels = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Decoded:
    """Resized images uint8 [N, S, S, 3], mapped from a file, and the samples found in them.

    `unreadable` tells, by key, why an image could not be decoded; it has a row but no sample.
    """

    images: Pixels
    samples: list[Sample]
    unreadable: dict[str, str]


def decode_all(records: Records, size: int, file: Path, events: Events) -> Decoded:
    """Decode every image of `records` into the new file `file`, resized to `size` x `size`.

    Raises:
        DataError: the source itself cannot be read.
        OSError: the disk is full.
    """
    count = len(records.keys)
    decoded = Decoded(create_images(file, count, size), [], {})
    with ThreadPoolExecutor(max_workers=min(8, os.cpu_count() or 1)) as pool:
        results = enumerate(_results(records, size, pool))
        for row, result in track(events, results, "Reading images", count, "images"):
            key = records.keys[row]
            if isinstance(result, UnreadableImage):
                decoded.unreadable[key] = str(result)
            else:
                decoded.images[row], pixels = result
                sample = Sample(row, key, records.labels[row], records.strata[row], pixels)
                decoded.samples.append(sample)
    return decoded


def create_images(file: Path, count: int, size: int) -> Pixels:
    """A new .npy file of zeros, uint8 [count, size, size, 3], mapped for writing.

    Raises:
        OSError: the disk is full.
    """
    images = np.lib.format.open_memmap(
        file, mode="w+", dtype=np.uint8, shape=(count, size, size, 3)
    )
    # Without its blocks reserved, a full disk would kill the process while it writes to the map.
    if hasattr(os, "posix_fallocate"):  # macOS has none
        with file.open("r+b") as stream:
            os.posix_fallocate(stream.fileno(), 0, file.stat().st_size)
    return images


def _results(
    records: Records, size: int, pool: ThreadPoolExecutor
) -> Iterator[tuple[Pixels, str] | UnreadableImage]:
    for start in range(0, len(records.keys), BATCH):
        batch = range(start, min(start + BATCH, len(records.keys)))
        encoded = [_read(records, index) for index in batch]
        yield from pool.map(_decode, encoded, [size] * len(encoded))


def _read(records: Records, index: int) -> bytes:
    try:
        return records.read(index)
    except OSError as error:
        raise DataError(
            f"The image {records.keys[index]!r} cannot be read: {error.strerror or error}.",
            where=str(error.filename or records.origin),
            advice="Check that it is there and that you may read it.",
        ) from error


def _decode(encoded: bytes, size: int) -> tuple[Pixels, str] | UnreadableImage:
    try:
        image = read_rgb(encoded)
    except UnreadableImage as error:
        return error
    digest = hashlib.sha256(f"{image.shape[0]}x{image.shape[1]}\n".encode())
    digest.update(image.data)
    return resize(image, size, size), digest.hexdigest()
