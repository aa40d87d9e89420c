"""The images that activations are calibrated on: training images only, and recorded."""

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
_FEWEST_IMAGES = 32


@dataclass(frozen=True)
class CalibrationSet:
    """Training images that all differ, uint8 [n, H, W, 3]; the lists have an entry for each.

    `labels` are class names and `hashes` SHA-256 of the pixels as the student sees them.
    """

    images: npt.NDArray[np.uint8]
    keys: list[str]
    labels: list[str]
    hashes: list[str]

    @property
    def sha256(self) -> str:
        """SHA-256 over the images' own hashes, in their order."""
        return hashlib.sha256("".join(self.hashes).encode()).hexdigest()

    def record(self, folder: Path) -> None:
        """Write which images these are into `folder`."""
        images = [
            {"key": key, "class": label, "sha256": sha256}
            for key, label, sha256 in zip(self.keys, self.labels, self.hashes, strict=True)
        ]
        text = json.dumps({"sha256": self.sha256, "images": images}, ensure_ascii=False, indent=1)
        (folder / RECORD).write_text(text + "\n", encoding="utf-8")


def draw(recipe: Recipe, data: PreparedData) -> CalibrationSet:
    """Draw evenly from the classes of the training split, with the recipe's seed.

    A class with too few images gives all it has. Of images with the same pixels one is drawn.

    Raises:
        DataError: too few images differ, or one of them is a test image.
    """
    images = data.images("train")
    rows: dict[str, int] = {}  # by hash, so that no image counts twice
    for row in class_balanced_order(data.labels("train"), recipe.seed).tolist():
        if len(rows) == recipe.quantize.calibration.images:
            break
        rows.setdefault(_sha256(images[row]), row)
    _refuse_too_few(len(rows), len(images))
    _refuse_overlap(rows, data)
    in_order = sorted(rows.items(), key=lambda item: item[1])
    drawn = [row for _, row in in_order]
    names = data.class_names
    return CalibrationSet(
        images=np.asarray(images[drawn]),
        keys=[data.keys("train")[row] for row in drawn],
        labels=[names[data.labels("train")[row]] for row in drawn],
        hashes=[sha256 for sha256, _ in in_order],
    )


def _refuse_too_few(different: int, images: int) -> None:
    if different == 1 and images > 1:
        raise DataError(
            f"Calibration is impossible, because all {images} training images are alike.",
            advice="Check how the training images were made.",
        )
    if different < _FEWEST_IMAGES:
        raise DataError(
            f"Calibration needs at least {_FEWEST_IMAGES} different training images, "
            f"and there are {different}.",
            advice="Add training images, or set quantize.enabled to false.",
        )


def _refuse_overlap(rows: dict[str, int], data: PreparedData) -> None:
    """Compare pixels, because a list of hashes may have been made for other images."""
    for row, image in enumerate(data.images("test")):
        shared = rows.get(_sha256(image))
        if shared is not None:
            raise DataError(
                f"The training image {data.keys('train')[shared]!r}, drawn for calibration, has "
                f"the same pixels as the test image {data.keys('test')[row]!r}.",
                advice="Remove one of the two from the data: what is calibrated on test images "
                "looks more accurate than it is.",
            )


def _sha256(image: npt.NDArray[np.uint8]) -> str:
    return hashlib.sha256(np.ascontiguousarray(image).data).hexdigest()
