"""Random numbers that depend on what they are for, and not on what was drawn before them.

A training that goes on from a checkpoint therefore draws what it would have drawn, and so does
every process of several.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
import torch

# a new purpose goes to the end: the place is part of the seed
_PURPOSES = ("order", "step", "dropout", "after")
Purpose = Literal["order", "step", "dropout", "after"]


def derived_seed(seed: int, purpose: Purpose, *numbers: int) -> int:
    """A seed in [0, 2^64) of its own for each purpose and each choice of numbers >= 0."""
    sequence = np.random.SeedSequence([seed, _PURPOSES.index(purpose), *numbers])
    return int(sequence.generate_state(1, np.uint64)[0])


def generator(seed: int, purpose: Purpose, *numbers: int) -> torch.Generator:
    """A generator on the CPU with the derived seed."""
    return torch.Generator().manual_seed(derived_seed(seed, purpose, *numbers))
