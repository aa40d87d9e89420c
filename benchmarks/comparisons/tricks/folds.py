"""Out-of-fold outputs: of each training image from a teacher that was not trained on it."""

from __future__ import annotations

import torch
from sklearn.model_selection import StratifiedKFold

from benchmarks.comparisons.data import Labels

FOLDS = 3


def folds(labels: Labels, seed: int) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """The rows of the images to train on and of those to answer for, in each fold."""
    parts = StratifiedKFold(FOLDS, shuffle=True, random_state=seed).split(labels, labels)
    return [(torch.from_numpy(train), torch.from_numpy(held_out)) for train, held_out in parts]
