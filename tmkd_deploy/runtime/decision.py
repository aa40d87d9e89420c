"""From logits to a class, with a threshold for a class that must not be missed if there is one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True)
class Decision:
    """A class that must not be missed, and its threshold.

    An image is of this class if its softmax probability reaches the threshold. Otherwise it is of
    the most probable of the other classes.

    Attributes:
        label: index of the class.
        threshold: a probability, in [0, 1].
    """

    label: int
    threshold: float

    @classmethod
    def of(
        cls, class_names: Sequence[str], guarded_class: str | None, threshold: float | None
    ) -> Decision | None:
        """The decision for a class by its name; None if there is no class or no threshold."""
        if guarded_class is None or threshold is None:
            return None
        return cls(class_names.index(guarded_class), threshold)


def probabilities(logits: npt.NDArray[np.floating]) -> npt.NDArray[np.float64]:
    """Softmax probabilities, float64 [n, classes] in [0, 1].

    Args:
        logits: floating point [n, classes], finite.
    """
    exact = logits.astype(np.float64)
    exponentials = np.exp(exact - exact.max(axis=1, keepdims=True))
    shares: npt.NDArray[np.float64] = exponentials / exponentials.sum(axis=1, keepdims=True)
    return shares


def decide(
    logits: npt.NDArray[np.floating], decision: Decision | None
) -> npt.NDArray[np.signedinteger]:
    """The class of each image, integers [n]; that of the highest logit without a decision.

    Args:
        logits: floating point [n, classes], finite.
        decision: the class with a threshold of its own.
    """
    found: npt.NDArray[np.signedinteger] = logits.argmax(axis=1)
    if decision is None:
        return found
    reached = probabilities(logits)[:, decision.label] >= decision.threshold
    others = logits.copy()
    others[:, decision.label] = -np.inf
    found = np.where(reached, decision.label, others.argmax(axis=1))
    return found


def margins(logits: npt.NDArray[np.floating], decision: Decision | None) -> npt.NDArray[np.float64]:
    """How far each image is from another class, in logits, float64 [n]; at least 0.

    The log odds of the class with a threshold change by as much as its logit does.

    Args:
        logits: floating point [n, classes], finite.
        decision: as for `decide`.
    """
    exact = logits.astype(np.float64)
    if decision is None:
        return _lead(exact)
    others = np.delete(exact, decision.label, axis=1)
    if not others.shape[1]:
        return _lead(exact)
    most = others.max(axis=1)
    odds = exact[:, decision.label] - most - np.log(np.exp(others - most[:, None]).sum(axis=1))
    with np.errstate(divide="ignore"):  # a threshold of 0 or 1 is infinitely far away
        beyond = odds - (np.log(decision.threshold) - np.log1p(-decision.threshold))
    taken = decide(logits, decision) == decision.label
    far: npt.NDArray[np.float64] = np.where(
        taken, np.abs(beyond), np.minimum(np.abs(beyond), _lead(others))
    )
    return far


def _lead(logits: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """The highest logit less the second highest; infinite if there is only one."""
    if logits.shape[1] < 2:
        return np.full(len(logits), np.inf)
    ordered = np.sort(logits, axis=1)
    lead: npt.NDArray[np.float64] = ordered[:, -1] - ordered[:, -2]
    return lead
