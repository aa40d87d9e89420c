"""data-check.html and data-check.json: what a check of the data found, with pictures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from tmkd_deploy.records.data_check import DataCheckRecord, SuspectLabel
from tmkd_deploy.report.page import data_uri, template
from tmkd_deploy.report.tables import Table

HTML = "data-check.html"
JSON = "data-check.json"
SIGN = {"error": "✗", "warning": "!", "note": "i"}


def to_html(
    record: DataCheckRecord,
    sheet: Mapping[str, Sequence[str]],
    pictures: Mapping[str, NDArray[np.uint8]],
) -> str:
    """One self-contained page without scripts.

    Args:
        record: what was found.
        sheet: the keys of the images to show of each class.
        pictures: uint8 [H, W, 3] by key, for `sheet` and the pairs of `record`, and for
            those of its suspects that are shown and not only named.

    Raises:
        MissingExtra: jinja2 is not installed.
    """
    page: str = template("data_check.html.j2").render(
        record=record,
        counts=counts(record),
        sheet=sheet,
        pictures={key: data_uri(pixels) for key, pixels in pictures.items()},
        sign=SIGN,
    )
    return page


def counts(record: DataCheckRecord) -> Table:
    """Images per class and split."""
    splits = list(record.counts)
    fold = " (fold {} of {})".format(*record.fold) if record.fold else ""
    headings = [split + fold if split == "test" else split for split in splits]
    rows = [
        [name, *(f"{record.counts[split].get(name, 0):,}" for split in splits)]
        for name in record.class_names
    ]
    totals = [f"{sum(record.counts[split].values()):,}" for split in splits]
    return Table(
        "Images per class and split",
        ["Class", *headings],
        [*rows, ["all", *totals]],
        numeric=frozenset(range(1, len(splits) + 1)),
    )


def suspects(labels: Sequence[SuspectLabel]) -> Table:
    """Labels to look at, with the class that the probe suggests."""
    return Table(
        "Suspected labels, the worst first, with the probe's probabilities",
        ["Image", "Split", "Label", "p", "Suggested", "p of it"],
        [
            [
                each.key,
                each.split,
                each.label,
                f"{each.label_probability:.2f}",
                each.suggested,
                f"{each.suggested_probability:.2f}",
            ]
            for each in labels
        ],
        numeric=frozenset({3, 5}),
    )
