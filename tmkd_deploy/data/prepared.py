"""Prepared data: the artifact from which all later stages read images and labels."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from tmkd_deploy.artifacts import Artifact, Record
from tmkd_deploy.data.split_names import SPLITS, Split
from tmkd_deploy.records.data_check import DataCheckRecord
from tmkd_deploy.records.types import ImageSize, Normalisation, height_and_width
from tmkd_deploy.runtime.preprocess import Preprocessing, ResizeMode

__all__ = ["SPLITS", "DataRecord", "PreparedData", "Split", "UnusedFiles"]

INDEX = "index.json"


class UnusedFiles(Record):
    """Files of a source that are not used: why, how many, and the path of the first."""

    why: str
    count: int
    example: str


class DataRecord(Record):
    """What the prepare stage records.

    `drawn_splits` are those that the data do not define: they are held out by `split_seed`, whole
    groups at a time if there are any. `group_by` says what a group is, None without groups, and
    `straddling_groups` are those that the data themselves divide between splits.

    The counts are numbers of images by class name. The hashes are SHA-256 over the pixels and
    labels of a split; `evaluation_sha256`, the test split's, identifies the images that results
    refer to. `skipped` are the keys of images that could not be decoded, `overlapping` those of
    images dropped because a later split has the same pixels. `duplicates_within_train` counts
    training images that repeat an earlier one. `check` is what else may spoil a result.
    """

    source: str
    notes: list[str]
    class_names: list[str]
    image_size: ImageSize
    resize: ResizeMode = "squash"
    grayscale: bool = False
    mean: list[float] | None = None
    std: list[float] | None = None
    drawn_splits: list[Split]
    split_seed: int
    group_by: str | None
    straddling_groups: list[str]
    train_images: int
    val_images: int
    test_images: int
    train_counts: dict[str, int]
    val_counts: dict[str, int]
    test_counts: dict[str, int]
    unused: list[UnusedFiles]
    skipped: list[str]
    overlapping: list[str]
    duplicates_within_train: int
    train_sha256: str
    val_sha256: str
    evaluation_sha256: str
    check: DataCheckRecord

    @property
    def preprocessing(self) -> Preprocessing:
        """How the images were resized, and an application must resize them."""
        height, width = height_and_width(self.image_size)
        return Preprocessing(height, width, self.resize, self.grayscale)

    @property
    def normalisation(self) -> Normalisation | None:
        """Mean and standard deviation of the models' input; None if the weights decide."""
        return (self.mean, self.std) if self.mean and self.std else None


@dataclass(frozen=True)
class PreparedData:
    """Images, labels and keys of all splits, read from an artifact; images stay on disk."""

    record: DataRecord
    _images: dict[Split, npt.NDArray[np.uint8]]
    _labels: dict[Split, npt.NDArray[np.int64]]
    _keys: dict[Split, list[str]]

    @classmethod
    def load(cls, artifact: Artifact[DataRecord]) -> PreparedData:
        """Load the data of an artifact that `artifacts.read` has verified."""
        index = json.loads(artifact.path(INDEX).read_text(encoding="utf-8"))
        return cls(
            record=artifact.record,
            _images={
                split: _load(artifact.path(images_name(split)), mmap_mode="r") for split in SPLITS
            },
            _labels={split: _load(artifact.path(labels_name(split))) for split in SPLITS},
            _keys={split: index[split]["keys"] for split in SPLITS},
        )

    @property
    def class_names(self) -> list[str]:
        """The classes in the order of their labels."""
        return self.record.class_names

    def images(self, split: Split) -> npt.NDArray[np.uint8]:
        """RGB images, uint8 [N, H, W, 3], memory-mapped and read-only."""
        return self._images[split]

    def labels(self, split: Split) -> npt.NDArray[np.int64]:
        """Labels, int64 [N], 0 <= label < len(class_names)."""
        return self._labels[split]

    def keys(self, split: Split) -> list[str]:
        """Human-readable names of the images, [N]."""
        return self._keys[split]


def images_name(split: Split) -> str:
    """The file name of a split's images within the artifact."""
    return f"{split}_images.npy"


def labels_name(split: Split) -> str:
    """The file name of a split's labels within the artifact."""
    return f"{split}_labels.npy"


def _load(file: Path, mmap_mode: Literal["r"] | None = None) -> npt.NDArray[Any]:
    array: npt.NDArray[Any] = np.load(file, mmap_mode=mmap_mode, allow_pickle=False)
    return array
