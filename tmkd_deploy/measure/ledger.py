"""The accuracy ledger: every representation on identical images, each against the one above."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tmkd_deploy.measure.results import LedgerRow
from tmkd_deploy.measure.statistics import paired_change_interval, share_interval


@dataclass(frozen=True)
class Entry:
    """One representation: its logits [N, C] on the test split.

    `key` names it within the ledger; `compared_with` is the key of the entry it descends from.
    """

    key: str
    representation: str
    precision: str
    label: str
    logits: np.ndarray
    compared_with: str | None = None


def ledger(entries: list[Entry], labels: np.ndarray) -> list[LedgerRow]:
    """One row an entry; the first entry is the teacher."""
    decisions = {entry.key: entry.logits.argmax(axis=1) for entry in entries}
    named = {entry.key: entry.representation for entry in entries}
    teacher = decisions[entries[0].key]
    return [_row(entry, decisions, teacher, named, labels) for entry in entries]


def confusion_matrix(decisions: np.ndarray, labels: np.ndarray, classes: int) -> list[list[int]]:
    """Counts by true class (row) and decision (column)."""
    counts = np.zeros((classes, classes), dtype=int)
    np.add.at(counts, (labels, decisions), 1)
    rows: list[list[int]] = counts.tolist()
    return rows


def _row(
    entry: Entry,
    all_decisions: dict[str, np.ndarray],
    teacher: np.ndarray,
    named: dict[str, str],
    labels: np.ndarray,
) -> LedgerRow:
    decisions = all_decisions[entry.key]
    right = decisions == labels
    recalls = [float(right[labels == label].mean()) for label in np.unique(labels)]
    row = LedgerRow(
        representation=entry.representation,
        precision=entry.precision,
        label=entry.label,
        top1=float(right.mean()),
        top1_interval=share_interval(int(right.sum()), len(labels)),
        macro_recall=float(np.mean(recalls)),
        agreement_with_teacher=float((decisions == teacher).mean()),
    )
    if entry.compared_with is None:
        return row
    above = all_decisions[entry.compared_with]
    was_right = above == labels
    gained, lost = int((right & ~was_right).sum()), int((was_right & ~right).sum())
    low, high = paired_change_interval(gained, lost, len(labels))
    return row.model_copy(
        update={
            "compared_with": named[entry.compared_with],
            "agreement_with_compared": float((decisions == above).mean()),
            "change_points": 100.0 * (gained - lost) / len(labels),
            "change_interval": (100.0 * low, 100.0 * high),
            "gained": gained,
            "lost": lost,
        }
    )
