"""The accuracy ledger: every representation on the same images, compared step by step."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tmkd_deploy.measure.confidence import expected_calibration_error, top1_confidence
from tmkd_deploy.measure.flips import flips_by_class, gain_note, loss_note
from tmkd_deploy.proportions import (
    mcnemar_p_value,
    paired_change_interval,
    share_interval,
)
from tmkd_deploy.records.logits import Logits
from tmkd_deploy.records.measurements import (
    SIGNIFICANT,
    LedgerRow,
    PairedCounts,
    Representation,
)
from tmkd_deploy.records.types import Precision, RuntimeName
from tmkd_deploy.runtime.decision import Decision, decide


@dataclass(frozen=True)
class Entry:
    """One representation with its logits on the test split.

    `key` identifies it within the ledger, `compared_with` is the key of the entry it is derived
    from, and `gain_note` is added to the note on a significant gain. `decision` says how its logits
    become a class; None for the highest. `runtime` is as in `LedgerRow`.
    """

    key: str
    representation: Representation
    precision: Precision
    label: str
    logits: Logits
    compared_with: str | None = None
    gain_note: str | None = None
    decision: Decision | None = None
    runtime: RuntimeName | None = None

    @property
    def predictions(self) -> np.ndarray:
        """The predicted class of each image, integers [N]."""
        return decide(self.logits.values, self.decision)


def ledger(entries: list[Entry], labels: np.ndarray, class_names: Sequence[str]) -> list[LedgerRow]:
    """One row per entry.

    Args:
        entries: the representations, the teacher first.
        labels: true classes of the images, integers [N].
        class_names: the names of the C classes.
    """
    evaluated = {entry.key: _evaluate(entry, labels) for entry in entries}
    teacher = evaluated[entries[0].key]
    rows = []
    for each in evaluated.values():
        step: dict[str, Any] = {}
        if each.entry.compared_with is not None:
            step = _step(evaluated[each.entry.compared_with], each, labels, class_names)
        if each.entry.representation == "engine":
            step["against"] = _against(each, evaluated.values())
        rows.append(_row(each, teacher, labels, step))
    return rows


def confusion_matrix(predictions: np.ndarray, labels: np.ndarray, classes: int) -> list[list[int]]:
    """Counts by true class (row) and predicted class (column)."""
    counts = np.zeros((classes, classes), dtype=int)
    np.add.at(counts, (labels, predictions), 1)
    rows: list[list[int]] = counts.tolist()
    return rows


@dataclass(frozen=True)
class _Evaluated:
    """The prediction for each image and whether it is correct."""

    entry: Entry
    predictions: np.ndarray
    right: np.ndarray
    calibration_error: float


def _evaluate(entry: Entry, labels: np.ndarray) -> _Evaluated:
    # calibration is that of the scores, whatever is decided on them
    foremost = entry.logits.predictions == labels
    error = expected_calibration_error(top1_confidence(entry.logits.values), foremost)
    predictions = entry.predictions
    return _Evaluated(entry, predictions, predictions == labels, error)


def _row(
    evaluated: _Evaluated, teacher: _Evaluated, labels: np.ndarray, step: dict[str, Any]
) -> LedgerRow:
    right = evaluated.right
    recalls = [float(right[labels == label].mean()) for label in np.unique(labels)]
    return LedgerRow(
        representation=evaluated.entry.representation,
        precision=evaluated.entry.precision,
        runtime=evaluated.entry.runtime,
        label=evaluated.entry.label,
        top1=float(right.mean()),
        top1_interval=share_interval(int(right.sum()), len(labels)),
        macro_recall=float(np.mean(recalls)),
        agreement_with_teacher=float((evaluated.predictions == teacher.predictions).mean()),
        expected_calibration_error=evaluated.calibration_error,
        threshold=evaluated.entry.decision.threshold if evaluated.entry.decision else None,
        **step,
    )


def _against(engine: _Evaluated, evaluated: Iterable[_Evaluated]) -> dict[str, PairedCounts]:
    """The engine compared with the teacher and with the unquantized student.

    A given model is both.
    """
    references: tuple[Representation, ...] = ("teacher", "student")
    return {
        reference: PairedCounts(
            gained=int((engine.right & ~other.right).sum()),
            lost=int((other.right & ~engine.right).sum()),
        )
        for other in evaluated
        for reference in references
        if reference in (other.entry.representation, other.entry.key)
    }


def _step(
    above: _Evaluated, after: _Evaluated, labels: np.ndarray, class_names: Sequence[str]
) -> dict[str, Any]:
    """The fields of `LedgerRow` that describe the step from the row `above`."""
    flips = flips_by_class(above.predictions, after.predictions, labels, class_names)
    gained, lost = sum(each.gained for each in flips), sum(each.lost for each in flips)
    low, high = paired_change_interval(gained, lost, len(labels))
    change = 100.0 * (gained - lost) / len(labels)
    p_value = mcnemar_p_value(gained, lost)
    step: dict[str, Any] = {
        "compared_with": above.entry.representation,
        "agreement_with_compared": float((after.predictions == above.predictions).mean()),
        "change_points": change,
        "change_interval": (100.0 * low, 100.0 * high),
        "gained": gained,
        "lost": lost,
        "p_value": p_value,
        "calibration_error_change": after.calibration_error - above.calibration_error,
        "flips": flips,
    }
    if lost > gained and p_value < SIGNIFICANT:
        step["note"] = loss_note(above.entry.label, after.entry.label, -change, p_value, flips)
    elif gained > lost and p_value < SIGNIFICANT and after.entry.gain_note:
        step["note"] = gain_note(
            above.entry.label, after.entry.label, change, p_value, after.entry.gain_note
        )
    return step
