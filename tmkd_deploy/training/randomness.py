"""Stateless random numbers: they depend on seed and purpose, not on what was drawn before.

A training resumed from a checkpoint therefore draws the same numbers as an uninterrupted one, and
so does every process of a distributed training.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
import torch

# append new purposes at the end: the index is part of the seed
_PURPOSES = ("order", "step", "dropout", "after")
Purpose = Literal["order", "step", "dropout", "after"]


def derived_seed(seed: int, purpose: Purpose, *numbers: int) -> int:
    """A seed in [0, 2^64) that is specific to the purpose and to `numbers`, all >= 0."""
    sequence = np.random.SeedSequence([seed, _PURPOSES.index(purpose), *numbers])
    return int(sequence.generate_state(1, np.uint64)[0])


def generator(seed: int, purpose: Purpose, *numbers: int) -> torch.Generator:
    """A CPU generator with the derived seed."""
    return torch.Generator().manual_seed(derived_seed(seed, purpose, *numbers))
