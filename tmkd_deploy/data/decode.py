"""Decoding every image once: resized pixels into a file, plus a hash of the original pixels."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from tmkd_deploy.data.block import Block, Outcome, Pixels, decode_block
from tmkd_deploy.data.samples import EncodedDataset, Sample
from tmkd_deploy.data.split_names import Split
from tmkd_deploy.data.workers import decode_in_workers
from tmkd_deploy.events import Events
from tmkd_deploy.recipe.schema import Data
from tmkd_deploy.records.types import height_and_width
from tmkd_deploy.runtime.cores import available_cores
from tmkd_deploy.runtime.image import UnreadableImage
from tmkd_deploy.runtime.preprocess import Preprocessing

IMAGES_PER_BLOCK = 64
IMAGES_PER_PROCESS = 512  # decoding this many takes longer than starting a process


@dataclass(frozen=True)
class Decoded:
    """Preprocessed images uint8 [N, H, W, 3], memory-mapped, and one sample per decoded image.

    `unreadable` holds key and reason of each image that could not be decoded; such an image has a
    row but no sample.
    """

    images: Pixels
    samples: list[Sample]
    unreadable: list[tuple[str, str]]


def preprocessing_of(spec: Data) -> Preprocessing:
    """How the images of a recipe are resized."""
    return Preprocessing(*height_and_width(spec.image_size), spec.resize, spec.grayscale)


def decode_all(dataset: EncodedDataset, spec: Data, file: Path, events: Events) -> Decoded:
    """Decode every image of `dataset` into the new file `file`, preprocessed as `spec` says.

    Up to `spec.workers` processes share the work; 0 means one per core. A small number of images
    is decoded in this process. The result does not depend on the number of processes.

    Raises:
        DataError: the source itself cannot be read.
        EnvironmentProblem: a decoding process was killed.
        OSError: the disk is full.
    """
    count = len(dataset.keys)
    preprocess = preprocessing_of(spec)
    images = create_images(file, count, preprocess.height, preprocess.width)
    decoded = Decoded(images, [], [])
    processes = min(spec.workers or available_cores(), count // IMAGES_PER_PROCESS)
    outcomes: dict[int, list[Outcome]] = {}
    task = events.begin("Reading images", count, "images")
    blocks = _decoded_blocks(_blocks(dataset, preprocess), processes, file, images, dataset.origin)
    try:
        with contextlib.closing(blocks):
            for block, decoded_block in blocks:
                outcomes[block.first] = decoded_block
                task.advance(len(decoded_block))
    finally:
        task.finish()
    in_order = (outcome for first in sorted(outcomes) for outcome in outcomes[first])
    for row, outcome in enumerate(in_order):
        key = dataset.keys[row]
        if isinstance(outcome, UnreadableImage):
            decoded.unreadable.append((key, str(outcome)))
        else:
            group = dataset.groups[row] if dataset.groups else ""
            split: Split | Literal[""] = dataset.splits[row] if dataset.splits else ""
            decoded.samples.append(
                Sample(row, key, dataset.labels[row], dataset.strata[row], outcome, group, split)
            )
    return decoded


def create_images(file: Path, count: int, height: int, width: int) -> Pixels:
    """A new .npy file of zeros, uint8 [count, height, width, 3], memory-mapped for writing.

    Raises:
        OSError: the disk is full.
    """
    images = np.lib.format.open_memmap(
        file, mode="w+", dtype=np.uint8, shape=(count, height, width, 3)
    )
    # Unless space is reserved, writing to the map on a full disk kills the process.
    if hasattr(os, "posix_fallocate"):  # macOS has none
        with file.open("r+b") as stream:
            os.posix_fallocate(stream.fileno(), 0, file.stat().st_size)
    return images


def _blocks(dataset: EncodedDataset, preprocess: Preprocessing) -> list[Block]:
    starts = range(0, len(dataset.keys), IMAGES_PER_BLOCK)
    return [
        Block(
            first,
            dataset.keys[first : first + IMAGES_PER_BLOCK],
            dataset.images[first : first + IMAGES_PER_BLOCK],
            preprocess,
        )
        for first in starts
    ]


def _decoded_blocks(
    blocks: list[Block], processes: int, file: Path, rows: Pixels, origin: str
) -> Generator[tuple[Block, list[Outcome]]]:
    if processes > 1:
        yield from decode_in_workers(blocks, processes, file, origin)
    else:
        yield from ((block, decode_block(block, rows)) for block in blocks)
