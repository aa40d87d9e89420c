"""Check a data set before anything is trained on it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from tmkd_deploy.data import findings
from tmkd_deploy.data.block import Pixels
from tmkd_deploy.data.decode import decode_all
from tmkd_deploy.data.examine import examine, find_copies, kept_together
from tmkd_deploy.data.samples import Sample
from tmkd_deploy.data.sources import read_source
from tmkd_deploy.data.split_names import SPLITS
from tmkd_deploy.data.three_splits import complete, given_splits
from tmkd_deploy.errors import DataError
from tmkd_deploy.events import Events
from tmkd_deploy.recipe.schema import Data
from tmkd_deploy.records.data_check import DataCheckRecord

if TYPE_CHECKING:
    from tmkd_deploy.data.probe import Backbone

_IMAGES_PER_CLASS = 12
_MAX_SUSPECTS_SHOWN = 200  # a picture takes up to 100 kB of the page


@dataclass(frozen=True)
class CheckedData:
    """What was found, and the pictures to show: uint8 [H, W, 3] by key.

    `sheet` lists keys of each class, drawn evenly from its images.
    """

    record: DataCheckRecord
    sheet: dict[str, list[str]]
    pictures: dict[str, Pixels]


def check_data(
    spec: Data,
    drop_budgets: Mapping[str, float],
    folder: Path,
    events: Events,
    backbone: Backbone | None = None,
) -> CheckedData:
    """Read, decode, split and examine the data that `spec` names.

    Args:
        spec: the recipe's section on data.
        drop_budgets: limits on a loss of accuracy in percentage points, by name.
        folder: an empty folder for the decoded images; the caller removes it.
        events: receives progress.
        backbone: looks for wrong labels among the data's training images, which are all images of
            data that name no splits.

    Raises:
        DataError: the data are missing, of a single class, wrongly labelled, or cannot be split.
    """
    dataset = read_source(spec)
    decoded = decode_all(dataset, spec, folder / "images.npy", events)
    if not decoded.samples:
        raise DataError(
            f"None of the {len(dataset.keys):,} images can be decoded.",
            where=dataset.origin,
            advice="Check what these files are: " + decoded.unreadable[0][1],
        )
    copies = find_copies(decoded, events)
    given = given_splits(decoded.samples)
    together = kept_together(spec, copies, decoded.samples)
    splits = complete(given, spec, dataset.class_names, dataset.origin, together)
    record = examine(
        dataset,
        decoded,
        splits,
        copies,
        events,
        together=bool(together and len(given) < len(SPLITS)),
        fold=spec.fold,
        drops=drop_budgets,
    )
    if backbone:
        from tmkd_deploy.data.label_errors import check_labels  # noqa: PLC0415 - imports torch
        from tmkd_deploy.data.probe import features_of  # noqa: PLC0415

        train, names = given["train"], dataset.class_names
        rows = [sample.row for sample in train]
        features = features_of(backbone, decoded.images, rows, events)
        labels = check_labels(features, backbone.weights, train, splits, names, together, events)
        found = [*record.findings, *findings.label_errors(labels)]
        record = record.model_copy(update={"findings": found, "label_check": labels})
    sheet = _sheet(decoded.samples, dataset.class_names)
    shown = {key for keys in sheet.values() for key in keys}
    shown |= {key for pair in record.similar or () for key in pair.keys}
    if record.label_check and record.label_check.suspects:
        shown |= {each.key for each in record.label_check.suspects[:_MAX_SUSPECTS_SHOWN]}
    pictures = {
        sample.key: np.array(decoded.images[sample.row])
        for sample in decoded.samples
        if sample.key in shown
    }
    return CheckedData(record, sheet, pictures)


def _sheet(samples: list[Sample], names: list[str]) -> dict[str, list[str]]:
    by_class: dict[str, list[str]] = {name: [] for name in names}
    for sample in samples:
        by_class[names[sample.label]].append(sample.key)
    return {
        name: keys[:: max(1, len(keys) // _IMAGES_PER_CLASS)][:_IMAGES_PER_CLASS]
        for name, keys in by_class.items()
    }
