"""Every image decoded once: resized pixels into a file, a hash of the original pixels beside."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tmkd_deploy.data.block import Block, Outcome, Pixels, decode_block
from tmkd_deploy.data.samples import Records, Sample
from tmkd_deploy.data.workers import decode_in_workers
from tmkd_deploy.events import Events
from tmkd_deploy.runtime.image import UnreadableImage

IMAGES_IN_A_BLOCK = 64
WORTH_A_PROCESS = 512  # images whose decoding takes longer than a process takes to start


@dataclass(frozen=True)
class Decoded:
    """Resized images uint8 [N, S, S, 3], mapped from a file, and the samples found in them.

    `unreadable` are key and reason of each image that could not be decoded; it has a row but no
    sample.
    """

    images: Pixels
    samples: list[Sample]
    unreadable: list[tuple[str, str]]


def decode_all(records: Records, size: int, workers: int, file: Path, events: Events) -> Decoded:
    """Decode every image of `records` into the new file `file`, resized to `size` x `size`.

    Up to `workers` processes share the work, 0 for one on each core; few images are decoded in
    this process. The result does not depend on it.

    Raises:
        DataError: the source itself cannot be read.
        EnvironmentProblem: a process was killed.
        OSError: the disk is full.
    """
    count = len(records.keys)
    decoded = Decoded(create_images(file, count, size), [], [])
    processes = min(workers or os.cpu_count() or 1, count // WORTH_A_PROCESS)
    outcomes: dict[int, list[Outcome]] = {}
    task = events.begin("Reading images", count, "images")
    blocks = _decoded(records, processes, file, decoded.images)
    try:
        with contextlib.closing(blocks):
            for block, of_block in blocks:
                outcomes[block.first] = of_block
                task.advance(len(of_block))
    finally:
        task.finish()
    in_order = (outcome for first in sorted(outcomes) for outcome in outcomes[first])
    for row, outcome in enumerate(in_order):
        key = records.keys[row]
        if isinstance(outcome, UnreadableImage):
            decoded.unreadable.append((key, str(outcome)))
        else:
            sample = Sample(row, key, records.labels[row], records.strata[row], outcome)
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


def _blocks(records: Records) -> list[Block]:
    starts = range(0, len(records.keys), IMAGES_IN_A_BLOCK)
    return [
        Block(
            first,
            records.keys[first : first + IMAGES_IN_A_BLOCK],
            records.images[first : first + IMAGES_IN_A_BLOCK],
        )
        for first in starts
    ]


def _decoded(
    records: Records, processes: int, file: Path, rows: Pixels
) -> Generator[tuple[Block, list[Outcome]]]:
    blocks = _blocks(records)
    if processes > 1:
        yield from decode_in_workers(blocks, processes, file, records.origin)
    else:
        yield from ((block, decode_block(block, rows)) for block in blocks)
