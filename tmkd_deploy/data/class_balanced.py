"""An order in which any first part is drawn evenly over the classes."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt


def class_balanced_order(labels: npt.NDArray[np.int64], seed: int) -> npt.NDArray[np.int64]:
    """All rows [N], shuffled: an image of each class, then a second of each, and so on."""
    order = np.random.default_rng(seed).permutation(len(labels))
    turn = np.empty(len(labels), dtype=np.int64)
    for label in np.unique(labels):
        of_class = order[labels[order] == label]
        turn[of_class] = np.arange(len(of_class))
    rows: npt.NDArray[np.int64] = order[np.argsort(turn[order], kind="stable")]
    return rows
