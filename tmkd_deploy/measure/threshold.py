"""Choose the decision threshold for the class that must not be missed, on validation images.

Every model gets a threshold of its own, from its own logits: the largest one for which the exact
one-sided 95 % lower bound of the class's recall is at least the recall asked for. Such a threshold
is a one-sided tolerance limit of the class's scores (Wilks, 1941), which assumes nothing of how
they are distributed. The plain quantile would fall short on new images half of the time.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from decimal import ROUND_FLOOR, Context

import numpy as np

from tmkd_deploy.data.prepared import DataRecord, PreparedData, Split
from tmkd_deploy.errors import RequestError
from tmkd_deploy.printable import printable
from tmkd_deploy.proportions import fewest_right, fewest_to_show
from tmkd_deploy.recipe import schema
from tmkd_deploy.records.class_names import refuse_unknown_class
from tmkd_deploy.records.logits import Logits
from tmkd_deploy.runtime.decision import Decision, probabilities

_DIGITS = 4
_MARGIN = 1e-6  # matters only for scores with so few digits, such as 1


@dataclass(frozen=True)
class Guard:
    """The class that must not be missed: its label, the recall asked for, its validation images.

    `images` says of each validation image whether it is of the class, bool [N].
    """

    label: int
    recall: float
    images: np.ndarray

    @classmethod
    def of(cls, asked: schema.Decision, data: PreparedData) -> Guard | None:
        """The class that the recipe asks for; None if it asks for none.

        Raises:
            RequestError: the data have no such class, or no validation image of it.
        """
        if asked.guarded_class is None:
            return None
        check_guarded_class(asked, data.record)
        label = data.class_names.index(asked.guarded_class)
        return cls(label, asked.recall, np.asarray(data.labels("val")) == label)

    def decision(self, validation: Logits) -> Decision:
        """The threshold for a model, from its logits on the validation images."""
        scores = probabilities(validation.values)[self.images, self.label]
        return Decision(self.label, choose_threshold(scores, self.recall))


def decided(
    logits_on: Callable[[Split], Logits], split: Split, guard: Guard | None
) -> tuple[Logits, Decision | None]:
    """The logits of a model on `split`, and its decision if there is a class to guard."""
    logits = logits_on(split)
    if guard is None:
        return logits, None
    return logits, guard.decision(logits if split == "val" else logits_on("val"))


def choose_threshold(scores: np.ndarray, recall: float) -> float:
    """The threshold that shows `recall`; the largest that misses none if that cannot be shown.

    It is rounded down to four digits and lies below the last score that it admits, which stays
    above it wherever it is computed.

    Args:
        scores: of the class's own images, its softmax probability, float [n] in [0, 1], n >= 1.
        recall: asked for, in (0, 1).
    """
    found = fewest_right(len(scores), recall) or len(scores)
    lowest = float(np.sort(scores)[len(scores) - found])
    below = lowest * (1 - _MARGIN)
    return float(Context(prec=_DIGITS, rounding=ROUND_FLOOR).create_decimal_from_float(below))


def check_guarded_class(asked: schema.Decision, data: DataRecord) -> str | None:
    """A sentence if the validation images are too few to show the recall asked for.

    Raises:
        RequestError: the data have no such class, or no validation image of it.
    """
    name = asked.guarded_class
    if name is None:
        return None
    refuse_unknown_class(name, data.class_names, "decision.guarded_class")
    images, shown = data.val_counts.get(name, 0), printable(name, 60)
    if not images:
        raise RequestError(
            f'The validation split has no image of "{shown}", so no threshold can be chosen.',
            where="decision.guarded_class",
            advice="Raise data.val_fraction, or add such images to the validation split.",
        )
    if fewest_right(images, asked.recall) is not None:
        return None
    bound = 0.05 ** (1 / images)
    return (
        f'{images} validation images of "{shown}" are too few to show a recall of '
        f"{asked.recall:g}; {fewest_to_show(asked.recall):,} could. The threshold misses none of "
        f"them, which shows a recall of {np.floor(100 * bound) / 100:g} or more."
    )
