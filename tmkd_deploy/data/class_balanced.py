"""A class-balanced order: every prefix is spread evenly over the classes."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt


def class_balanced_order(labels: npt.NDArray[np.int64], seed: int) -> npt.NDArray[np.int64]:
    """All rows [N], shuffled: one image of each class, then a second of each, and so on."""
    order = np.random.default_rng(seed).permutation(len(labels))
    round_of = np.empty(len(labels), dtype=np.int64)
    for label in np.unique(labels):
        of_class = order[labels[order] == label]
        round_of[of_class] = np.arange(len(of_class))
    rows: npt.NDArray[np.int64] = order[np.argsort(round_of[order], kind="stable")]
    return rows
