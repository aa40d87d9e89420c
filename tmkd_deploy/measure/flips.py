"""Which decisions a step changed, class by class, and what a reader is told of a loss."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tmkd_deploy.measure.statistics import p_value_text
from tmkd_deploy.records.measurements import ClassFlips

CLASSES_NAMED = 3


def flips_by_class(
    before: np.ndarray, after: np.ndarray, labels: np.ndarray, class_names: Sequence[str]
) -> tuple[ClassFlips, ...]:
    """One entry for each class with a changed decision; the class that lost most comes first.

    `before` and `after` are the decisions, `labels` the true classes, all integers [N].
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
    """One sentence on a step that lost significantly, and on where.

    `points` is how many points of top-1 were lost, above 0; `flips` is sorted as `flips_by_class`
    sorts it.
    """
    losses = [each.lost - each.gained for each in flips if each.lost > each.gained]
    where = f"spread over {len(losses)} classes"
    if 2 * losses[0] > sum(losses):
        where = f"most of them in class {flips[0].class_name}"
    return f"{_step(above, label, 'lost', points, p_value)}, {where}."


def gain_note(above: str, label: str, points: float, p_value: float, more: str) -> str:
    """One sentence on a step that gained `points` of top-1 significantly, then what `more` says."""
    return f"{_step(above, label, 'gained', points, p_value)}. {more}"


def _step(above: str, label: str, verb: str, points: float, p_value: float) -> str:
    shown = p_value_text(p_value)
    sign = "" if shown.startswith("<") else "= "
    return f"The step from '{above}' to '{label}' {verb} {points:.2f} points (p {sign}{shown})"


def _most_frequent(decisions: np.ndarray, class_names: Sequence[str]) -> dict[str, int]:
    classes, counts = np.unique(decisions, return_counts=True)
    first = np.argsort(-counts, kind="stable")[:CLASSES_NAMED]
    return {class_names[classes[place]]: int(counts[place]) for place in first}
