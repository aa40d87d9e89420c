"""Evaluate a bundle on labelled images, as an application would classify them."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tmkd_deploy.data.samples import EncodedDataset, ImageFile
from tmkd_deploy.data.sources import READERS, source_of
from tmkd_deploy.data.split_names import split_named
from tmkd_deploy.data.unused import described, unused_files
from tmkd_deploy.errors import DataError
from tmkd_deploy.events import Events, track
from tmkd_deploy.printable import printable
from tmkd_deploy.proportions import share_interval
from tmkd_deploy.recipe.schema import Data
from tmkd_deploy.records.figures import Interval
from tmkd_deploy.runtime import Classifier, UnreadableImage
from tmkd_deploy.suggestions import did_you_mean

CSV_COLUMNS = ("path", "label", "prediction", "confidence")
# what a spreadsheet takes for the start of a formula
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")


@dataclass(frozen=True)
class Row:
    """One image: its path, its class, and what the bundle says.

    `prediction` and `confidence` are None, and `problem` says why, if the image cannot be used.
    """

    path: str
    label: str
    prediction: str | None = None
    confidence: float | None = None
    problem: str | None = None


@dataclass(frozen=True)
class Share:
    """`right` of `total`; no share if `total` is 0."""

    right: int
    total: int

    @property
    def value(self) -> float | None:
        """The share, in [0, 1]."""
        return self.right / self.total if self.total else None

    @property
    def interval(self) -> Interval | None:
        """Its 95 % Wilson interval."""
        return share_interval(self.right, self.total) if self.total else None


@dataclass(frozen=True)
class Evaluation:
    """What a bundle says of labelled images; `notes` are sentences on images left out."""

    class_names: Sequence[str]
    rows: Sequence[Row]
    notes: Sequence[str] = field(default_factory=list)

    @property
    def unusable(self) -> list[Row]:
        """The images that could not be classified."""
        return [row for row in self.rows if row.prediction is None]

    @property
    def confusion(self) -> list[list[int]]:
        """Counts by true class (row) and predicted class (column)."""
        place = {name: label for label, name in enumerate(self.class_names)}
        counts = [[0] * len(place) for _ in place]
        for row in self.rows:
            if row.prediction is not None:
                counts[place[row.label]][place[row.prediction]] += 1
        return counts

    @property
    def top1(self) -> Share:
        """The images that were classified correctly."""
        confusion = self.confusion
        right = sum(confusion[label][label] for label in range(len(confusion)))
        return Share(right, sum(map(sum, confusion)))

    @property
    def recall(self) -> list[Share]:
        """Of each class, the images that were recognized."""
        return [Share(row[label], sum(row)) for label, row in enumerate(self.confusion)]

    @property
    def precision(self) -> list[Share]:
        """Of each class, the predictions that were right."""
        confusion = self.confusion
        return [
            Share(confusion[label][label], sum(row[label] for row in confusion))
            for label in range(len(confusion))
        ]


def evaluate(classifier: Classifier, path: Path, events: Events) -> Evaluation:
    """Classify the images at `path` and compare with their labels.

    An image that cannot be used is recorded and does not stop the others.

    Args:
        classifier: the bundle.
        path: a folder with one folder per class, a table, Parquet files or tar shards. If a table
            names splits, the test split counts.
        events: receives progress.

    Raises:
        DataError: there are no such images, a class is none of the bundle's, or no image can be
            used.
        MissingExtra: the source needs a package that is not installed.
    """
    source = source_of(path)
    dataset = READERS[source](path, None, Data.model_validate({"source": source, "path": path}))
    splits = dataset.splits or ["test"] * len(dataset.keys)
    chosen = [index for index, split in enumerate(splits) if split == "test"]
    if not chosen:
        raise DataError(
            "There is no image to evaluate.",
            where=str(path),
            advice="Give labelled images; of a table with splits, the test split counts.",
        )
    labels = _labels(dataset, classifier.class_names, path, source)
    rows = [
        _row(classifier, dataset, index, labels[index])
        for index in track(events, chosen, "Classifying images", len(chosen), "images")
    ]
    found = Evaluation(classifier.class_names, rows, _notes(dataset, chosen, path, source))
    if not found.top1.total:
        first = found.unusable[0]
        raise DataError(
            f"None of the {len(rows):,} images can be used. {first.problem}",
            where=first.path,
            advice="Give PNG, JPEG, BMP, GIF, PPM, WebP or TIFF images that can be read.",
        )
    return found


def to_csv(evaluation: Evaluation) -> str:
    """One line per image under `CSV_COLUMNS`; an image that cannot be used has no prediction.

    Text that a spreadsheet would take for a formula gets an apostrophe in front.
    """
    stream = io.StringIO()
    writer = csv.writer(stream)  # whose line ends, RFC 4180's, put \r and \n into quotes
    writer.writerow(CSV_COLUMNS)
    for row in evaluation.rows:
        confidence = "" if row.confidence is None else f"{row.confidence:.6f}"
        texts = (row.path, row.label, row.prediction or "")
        writer.writerow([*map(_harmless, texts), confidence])
    return stream.getvalue()


def to_json(evaluation: Evaluation) -> dict[str, Any]:
    """The evaluation for programs; shares lie in [0, 1], and None marks one of nothing."""
    shares = zip(evaluation.class_names, evaluation.recall, evaluation.precision, strict=True)
    return {
        "images": evaluation.top1.total,
        "top1": evaluation.top1.value,
        "top1_interval": evaluation.top1.interval,
        "classes": [
            {
                "name": name,
                "images": recall.total,
                "recall": recall.value,
                "recall_interval": recall.interval,
                "predicted": precision.total,
                "precision": precision.value,
                "precision_interval": precision.interval,
            }
            for name, recall, precision in shares
        ],
        "confusion": evaluation.confusion,
        "unusable": [{"path": row.path, "problem": row.problem} for row in evaluation.unusable],
        "notes": list(evaluation.notes),
    }


def _row(classifier: Classifier, dataset: EncodedDataset, index: int, label: int) -> Row:
    path, name = dataset.keys[index], classifier.class_names[label]
    try:
        prediction = classifier.predict(dataset.read(index))
    except UnreadableImage as error:
        return Row(path, name, problem=str(error.__cause__ or error))
    except DataError as error:
        return Row(path, name, problem=error.problem)
    except OSError as error:
        return Row(path, name, problem=f"It cannot be read: {error.strerror or error}.")
    return Row(path, name, prediction.label, prediction.confidence)


def _labels(
    dataset: EncodedDataset, class_names: Sequence[str], path: Path, source: str
) -> list[int]:
    """The bundle's label of each image, by the name of its class.

    Outside folders, labels may be numbers that count the bundle's classes from 0.
    """
    names = dataset.class_names
    numbered = all(name.isascii() and name.isdecimal() for name in names)
    if source != "folder" and numbered and not set(names) & set(class_names):
        numbers = [int(names[each]) if each < len(names) else each for each in dataset.labels]
        known = [each for each in numbers if each < len(class_names)]
        if len(known) == len(numbers):
            return numbers
        unknown = str(next(each for each in numbers if each >= len(class_names)))
    else:
        place = {name: label for label, name in enumerate(class_names)}
        missing = [name for name in names if name not in place]
        if not missing:
            return [place[names[label]] for label in dataset.labels]
        unknown = missing[0]
    split = split_named(unknown)
    raise DataError(
        f"The bundle has no class {printable(unknown, 60)!r}.",
        where=str(path),
        advice=f"This is the name of a split: give the {unknown} folder itself."
        if split
        else f"{did_you_mean(unknown, class_names)} Images count by the name of their class.",
    )


def _notes(dataset: EncodedDataset, chosen: Sequence[int], path: Path, source: str) -> list[str]:
    notes = []
    if rest := len(dataset.keys) - len(chosen):
        notes.append(f"The test split was evaluated; {rest:,} images of other splits were not.")
    if source == "folder":
        used = {Path(image.path) for image in dataset.images if isinstance(image, ImageFile)}
        if unused := described(unused_files(path, used)):
            notes.append(unused)
    return notes


def _harmless(text: str) -> str:
    return f"'{text}" if text.startswith(_FORMULA) else text
