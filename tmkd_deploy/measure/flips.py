"""Which predictions a step changed, by class, and notes on significant steps."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tmkd_deploy.proportions import p_value_text
from tmkd_deploy.records.measurements import ClassFlips

CLASSES_NAMED = 3


def flips_by_class(
    before: np.ndarray, after: np.ndarray, labels: np.ndarray, class_names: Sequence[str]
) -> tuple[ClassFlips, ...]:
    """One entry for each class with changed predictions, the largest loss first.

    Args:
        before: predicted classes before the step, integers [N].
        after: predicted classes after the step, integers [N].
        labels: true classes, integers [N].
        class_names: names of the classes.
    """
    changed = before != after
    before, after, labels = before[changed], after[changed], labels[changed]
    found = []
    for label in np.unique(labels):
        of_class = labels == label
        gained, lost = of_class & (after == label), of_class & (before == label)
        found.append(
            ClassFlips(
                class_name=class_names[label],
                gained=int(gained.sum()),
                lost=int(lost.sum()),
                still_wrong=int((of_class & ~gained & ~lost).sum()),
                gained_from=_most_frequent(before[gained], class_names),
                lost_to=_most_frequent(after[lost], class_names),
            )
        )
    return tuple(sorted(found, key=lambda each: (each.gained - each.lost, -each.lost)))


def loss_note(
    above: str, label: str, points: float, p_value: float, flips: Sequence[ClassFlips]
) -> str:
    """One sentence on a significant loss and the classes concerned.

    Args:
        above: label of the row that the step starts from.
        label: label of the row that the step leads to.
        points: lost percentage points of top-1, above 0.
        p_value: of the change.
        flips: as `flips_by_class` returns them.
    """
    losses = [each.lost - each.gained for each in flips if each.lost > each.gained]
    where = f"spread over {len(losses)} classes"
    if 2 * losses[0] > sum(losses):
        where = f"most of them in class {flips[0].class_name}"
    return f"{_step(above, label, 'lost', points, p_value)}, {where}."


def gain_note(above: str, label: str, points: float, p_value: float, more: str) -> str:
    """One sentence on a significant gain of `points` of top-1, followed by `more`."""
    return f"{_step(above, label, 'gained', points, p_value)}. {more}"


def _step(above: str, label: str, verb: str, points: float, p_value: float) -> str:
    shown = p_value_text(p_value)
    sign = "" if shown.startswith("<") else "= "
    return f"The step from '{above}' to '{label}' {verb} {points:.2f} points (p {sign}{shown})"


def _most_frequent(predictions: np.ndarray, class_names: Sequence[str]) -> dict[str, int]:
    classes, counts = np.unique(predictions, return_counts=True)
    first = np.argsort(-counts, kind="stable")[:CLASSES_NAMED]
    return {class_names[classes[place]]: int(counts[place]) for place in first}
