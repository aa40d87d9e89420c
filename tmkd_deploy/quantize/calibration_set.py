"""The calibration set: distinct training images, recorded with their hashes."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from tmkd_deploy.data.class_balanced import class_balanced_order
from tmkd_deploy.data.prepared import PreparedData
from tmkd_deploy.errors import DataError
from tmkd_deploy.recipe.schema import Recipe

RECORD = "calibration.json"
_MIN_IMAGES = 32


@dataclass(frozen=True)
class CalibrationSet:
    """Distinct training images, uint8 [n, H, W, 3], with keys, labels and hashes, each [n].

    `labels` are class names, `hashes` the SHA-256 of the pixels at the student's resolution.
    """

    images: npt.NDArray[np.uint8]
    keys: list[str]
    labels: list[str]
    hashes: list[str]

    @property
    def sha256(self) -> str:
        """SHA-256 of the images' hashes, in order."""
        return hashlib.sha256("".join(self.hashes).encode()).hexdigest()

    def write_record(self, folder: Path) -> None:
        """Write the images' keys, classes and hashes to `calibration.json` in `folder`."""
        images = [
            {"key": key, "class": label, "sha256": sha256}
            for key, label, sha256 in zip(self.keys, self.labels, self.hashes, strict=True)
        ]
        text = json.dumps({"sha256": self.sha256, "images": images}, ensure_ascii=False, indent=1)
        (folder / RECORD).write_text(text + "\n", encoding="utf-8")


def draw_calibration_set(recipe: Recipe, data: PreparedData) -> CalibrationSet:
    """A class-balanced sample of the training split, drawn with the recipe's seed.

    A class with too few images contributes all of them. Of identical images only one is drawn.

    Raises:
        DataError: there are too few distinct images, or one of them is a test image.
    """
    images = data.images("train")
    rows: dict[str, int] = {}  # by hash, so that no image is drawn twice
    for row in class_balanced_order(data.labels("train"), recipe.seed).tolist():
        if len(rows) == recipe.quantize.calibration.images:
            break
        rows.setdefault(_sha256(images[row]), row)
    _require_enough(len(rows), len(images))
    _require_no_overlap(rows, data)
    in_order = sorted(rows.items(), key=lambda item: item[1])
    selected = [row for _, row in in_order]
    names = data.class_names
    return CalibrationSet(
        images=np.asarray(images[selected]),
        keys=[data.keys("train")[row] for row in selected],
        labels=[names[data.labels("train")[row]] for row in selected],
        hashes=[sha256 for sha256, _ in in_order],
    )


def _require_enough(distinct: int, images: int) -> None:
    if distinct == 1 and images > 1:
        raise DataError(
            f"Calibration is impossible because all {images} training images are identical.",
            advice="Check how the training images were created.",
        )
    if distinct < _MIN_IMAGES:
        raise DataError(
            f"Calibration needs at least {_MIN_IMAGES} distinct training images, "
            f"but there are only {distinct}.",
            advice="Add training images, or set quantize.enabled to false.",
        )


def _require_no_overlap(rows: dict[str, int], data: PreparedData) -> None:
    """Compare pixels, because stored hashes are of the images before resizing."""
    for row, image in enumerate(data.images("test")):
        train_row = rows.get(_sha256(image))
        if train_row is not None:
            raise DataError(
                f"The training image {data.keys('train')[train_row]!r}, selected for calibration, "
                f"has the same pixels as the test image {data.keys('test')[row]!r}.",
                advice="Remove one of the two from the data: calibration on test images makes a "
                "model look more accurate than it is.",
            )


def _sha256(image: npt.NDArray[np.uint8]) -> str:
    return hashlib.sha256(np.ascontiguousarray(image).data).hexdigest()
