"""The prepare stage: read the source, decode every image once, split, write."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from tmkd_deploy.data.block import Pixels
from tmkd_deploy.data.data_checks import (
    check_notes,
    class_counts,
    count_duplicates,
    drop_overlap,
    exclusion_notes,
    label_conflicts,
    name_straddling,
    skip_unreadable,
)
from tmkd_deploy.data.decode import create_images, decode_all
from tmkd_deploy.data.examine import examine, find_copies, kept_together
from tmkd_deploy.data.pixel_statistics import channel_statistics
from tmkd_deploy.data.prepared import INDEX, DataRecord, images_name, labels_name
from tmkd_deploy.data.samples import Sample
from tmkd_deploy.data.sources import read_source
from tmkd_deploy.data.split_names import SPLITS, Split
from tmkd_deploy.data.three_splits import Splits, complete, given_splits
from tmkd_deploy.data.unused import described
from tmkd_deploy.errors import EnvironmentProblem
from tmkd_deploy.events import Events
from tmkd_deploy.recipe.schema import Data
from tmkd_deploy.records.types import ImageSize, height_and_width

ROWS_PER_BATCH = 256


def prepare(spec: Data, folder: Path, events: Events) -> DataRecord:
    """Write the three splits of the data that `spec` names into the empty `folder`.

    The files are {train,val,test}_images.npy (uint8 [N, H, W, 3]), {train,val,test}_labels.npy
    (int64 [N]) and index.json (keys and SHA-256 of the decoded pixels of each split).

    Raises:
        DataError: the data are missing, unreadable, wrongly labelled, or cannot be split.
        EnvironmentProblem: too little disk space, a missing package, or a decoding process was
            killed.
        OSError: `folder` cannot be written to.
    """
    dataset = read_source(spec)
    for note in dataset.notes:
        events.say(note)
    not_used = described(dataset.unused)
    if not_used:
        events.warn(not_used)
    _check_disk_space(folder, len(dataset.keys), spec.image_size)
    all_images = folder / "everything.npy"
    decoded = decode_all(dataset, spec, all_images, events)
    skipped = skip_unreadable(decoded, spec.max_corrupt_images, dataset.origin, events)
    given, overlapping = drop_overlap(
        given_splits(decoded.samples),
        spec.max_overlapping_images,
        str(spec.test or spec.val or spec.path),
        events,
    )
    straddling_groups, straddling_notes = name_straddling(given, events)
    copies = find_copies(decoded, events)
    together = kept_together(spec, copies, decoded.samples)
    splits = complete(given, spec, dataset.class_names, dataset.origin, together)
    drawn = [split for split in SPLITS if split not in given]
    check = examine(
        dataset, decoded, splits, copies, events, together=bool(together and drawn), fold=spec.fold
    )
    counts = {
        split: class_counts(samples, dataset.class_names, split, dataset.origin)
        for split, samples in splits.items()
    }
    hashes = {
        split: _write(folder, split, samples, decoded.images) for split, samples in splits.items()
    }
    mean, std = _normalisation(spec, folder / images_name("train"))
    _write_index(folder / INDEX, splits)
    all_images.unlink()
    # without the path: the same images in another place are the same data
    source = dataset.origin if spec.source == "elpv" else spec.source
    return DataRecord(
        source=source,
        notes=[
            *dataset.notes,
            *([not_used] if not_used else []),
            *label_conflicts(decoded.samples, events),
            *exclusion_notes(skipped, overlapping),
            *straddling_notes,
            *check_notes(check, events),
        ],
        class_names=dataset.class_names,
        image_size=spec.image_size,
        resize=spec.resize,
        grayscale=spec.grayscale,
        mean=mean,
        std=std,
        drawn_splits=drawn,
        split_seed=spec.split_seed,
        group_by=spec.group_by or ("column" if dataset.groups else None),
        straddling_groups=straddling_groups,
        train_images=len(splits["train"]),
        val_images=len(splits["val"]),
        test_images=len(splits["test"]),
        train_counts=counts["train"],
        val_counts=counts["val"],
        test_counts=counts["test"],
        unused=dataset.unused,
        skipped=skipped,
        overlapping=overlapping,
        duplicates_within_train=count_duplicates(splits["train"], events),
        train_sha256=hashes["train"],
        val_sha256=hashes["val"],
        evaluation_sha256=hashes["test"],
        check=check.model_copy(update={"source": source}),
    )


def _check_disk_space(folder: Path, images: int, size: ImageSize) -> None:
    height, width = height_and_width(size)
    needed = 2 * images * height * width * 3  # all images are written before and after the split
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise EnvironmentProblem(
            f"Preparing {images} images of {height} x {width} pixels takes {needed / 1e9:.2f} GB, "
            f"but only {free / 1e9:.2f} GB are free on this disk.",
            where=str(folder),
            advice="Free some space, choose another folder with --runs, or lower "
            "'data.image_size'.",
        )


def _write(folder: Path, split: Split, samples: Sequence[Sample], decoded: Pixels) -> str:
    """Write the split's images and labels; return the SHA-256 of both."""
    rows = [sample.row for sample in samples]
    images = create_images(folder / images_name(split), len(rows), *decoded.shape[1:3])
    digest = hashlib.sha256(f"{images.shape}\n".encode())
    for start in range(0, len(rows), ROWS_PER_BATCH):
        block = decoded[rows[start : start + ROWS_PER_BATCH]]
        images[start : start + ROWS_PER_BATCH] = block
        digest.update(block.data)
    labels = np.array([sample.label for sample in samples], dtype="<i8")
    np.save(folder / labels_name(split), labels, allow_pickle=False)
    digest.update(labels.data)
    return digest.hexdigest()


def _normalisation(spec: Data, images: Path) -> tuple[list[float] | None, list[float] | None]:
    """The recipe's mean and standard deviation, where 'auto' is those of `images`."""
    if spec.mean != "auto" and spec.std != "auto":
        return spec.mean, spec.std
    mean, std = channel_statistics(np.load(images, mmap_mode="r", allow_pickle=False))
    return mean if spec.mean == "auto" else spec.mean, std if spec.std == "auto" else spec.std


def _write_index(file: Path, splits: Splits) -> None:
    index = {
        split: {
            "keys": [sample.key for sample in samples],
            "sha256": [sample.pixels for sample in samples],
        }
        for split, samples in splits.items()
    }
    file.write_text(json.dumps(index, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
