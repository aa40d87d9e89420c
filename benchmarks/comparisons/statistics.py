"""Paired differences of rows with intervals over splits, students and test images."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from benchmarks.comparisons.protocol import SPLITS, STUDENTS, fingerprint

DRAWS = 4000
SEED = 0
_AT_ONCE = 500  # draws, to bound memory
Metric = Literal["top1", "macro_recall", "nll", "calibration_error"]
BY_IMAGE: tuple[Metric, ...] = ("top1", "macro_recall", "nll")
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Answers:
    """One row on one data set: [split][student] of right or wrong, and NLL, by test image.

    `labels` are the test labels of each split.
    """

    labels: list[npt.NDArray[np.int64]]
    right: list[list[Floats]]
    losses: list[list[Floats]]
    students: list[list[dict[str, Any]]]

    def mean(self, metric: str) -> float:
        """The mean of a figure over all students."""
        return float(np.mean([[each[metric] for each in split] for split in self.students]))


@dataclass(frozen=True)
class Difference:
    """A mean difference with the 95 % interval and the two-sided p-value of a bootstrap."""

    mean: float
    low: float
    high: float
    p_value: float


def read(results: Path, name: str, row: str) -> Answers | None:
    """The answers of a row on a data set; None unless every student has its result."""
    labels, right, losses, students = [], [], [], []
    for number in range(SPLITS):
        file = results / f"{name}-{number}.json"
        found = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {"students": {}}
        each = [found["students"].get(f"{row} {seed}") for seed in range(STUDENTS)]
        if any(one is None or one["fingerprint"] != fingerprint(name, row) for one in each):
            return None
        labels.append(np.array(found["labels"]))
        count = len(found["labels"])
        right.append([_bits(one["right"], count) for one in each])
        losses.append([_floats(one["losses"]) for one in each])
        students.append(each)
    return Answers(labels, right, losses, students)


def difference(first: Answers, second: Answers, metric: Metric) -> Difference:
    """How much `first` has over `second` on one data set."""
    draws = drawn_differences(first, second, metric)
    return summarised(first.mean(metric) - second.mean(metric), draws)


def drawn_differences(first: Answers, second: Answers, metric: Metric) -> Floats:
    """Bootstrap draws [DRAWS] of the mean difference: of splits, of students in them, of images.

    Both rows have the same splits and test images, so a draw takes the same for both. Students are
    drawn for each row on its own.
    """
    random = np.random.default_rng(SEED)
    splits = len(first.labels)
    drawn = random.multinomial(splits, np.full(splits, 1 / splits), size=DRAWS)
    draws = np.zeros(DRAWS)
    for split, labels in enumerate(first.labels):
        times = drawn[:, split]  # how often each draw has this split
        which = np.repeat(np.arange(DRAWS), times)
        changes = np.zeros(len(which))
        for start in range(0, len(which), _AT_ONCE):
            count = len(which[start : start + _AT_ONCE])
            images = random.multinomial(len(labels), np.full(len(labels), 1 / len(labels)), count)
            means = [
                _means_of(
                    _drawn_students(row, split, metric, count, random), images, labels, metric
                )
                for row in (first, second)
            ]
            changes[start : start + count] = means[0] - means[1]
        draws += np.bincount(which, weights=changes, minlength=DRAWS)
    return draws / splits


def over_sets(draws: Sequence[Floats], means: Sequence[float]) -> Difference:
    """The mean over data sets, from the draws of each."""
    return summarised(float(np.mean(means)), np.mean(draws, axis=0))


def summarised(mean: float, draws: Floats) -> Difference:
    """The percentile interval, and twice the smaller share of draws beyond zero."""
    low, high = np.quantile(draws, [0.025, 0.975])
    beyond = min((draws <= 0).sum(), (draws >= 0).sum())
    return Difference(mean, float(low), float(high), min(1.0, 2 * (beyond + 1) / (len(draws) + 1)))


def holm(p_values: Mapping[str, float]) -> dict[str, float]:
    """The p-values adjusted by Holm's step-down procedure (1979)."""
    adjusted: dict[str, float] = {}
    largest = 0.0
    for rank, name in enumerate(sorted(p_values, key=p_values.__getitem__)):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[name]))
        adjusted[name] = largest
    return adjusted


def _drawn_students(
    row: Answers, split: int, metric: Metric, draws: int, random: np.random.Generator
) -> Floats:
    """The mean [draws, N] of as many students as there are, drawn with replacement."""
    values = np.stack((row.losses if metric == "nll" else row.right)[split])
    count = len(values)
    drawn = random.multinomial(count, np.full(count, 1 / count), size=draws)
    return drawn @ values / count


def _means_of(
    values: Floats, images: npt.NDArray[np.int64], labels: npt.NDArray[np.int64], metric: Metric
) -> Floats:
    """The mean of each draw's values [draws, N], where image i counts `images[draw, i]` times."""
    weighted = values * images
    if metric != "macro_recall":
        return np.asarray(weighted.sum(axis=1) / len(labels))
    of_class = np.eye(labels.max() + 1)[labels]
    counts = images @ of_class
    recalls = weighted @ of_class / np.maximum(counts, 1)
    return np.asarray(recalls.sum(axis=1) / (counts > 0).sum(axis=1))


def _bits(packed: str, count: int) -> Floats:
    bits = np.unpackbits(np.frombuffer(base64.b64decode(packed), np.uint8), count=count)
    return bits.astype(np.float64)


def _floats(packed: str) -> Floats:
    return np.frombuffer(base64.b64decode(packed), "<f2").astype(np.float64)
