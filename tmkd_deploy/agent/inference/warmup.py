"""Whether an engine has warmed up: a changepoint test on the medians of short blocks of runs.

Barrett et al. (2017), "Virtual Machine Warmup Blows Hot and Cold", split a series of run times at
its changepoints and call a program steady if the last one lies far enough back. This is the same
idea, small enough to run during the warm-up: one changepoint at a time, in the second half of the
series so far.
"""

from __future__ import annotations

import math
from typing import Sequence

import numpy as np

BLOCKS = 20  # the fewest that are judged
_MARGIN = 3  # the fewest blocks in a level; fewer could be chance
_SMALLEST_CHANGE = math.log(1.01)


def is_warmed_up(medians: Sequence[float]) -> bool:
    """Whether the second half of the blocks, and at least the last 20, is at one level.

    `medians` holds one positive time per block since the first run, in any unit.
    """
    if len(medians) < BLOCKS:
        return False
    window = medians[-max(BLOCKS, len(medians) // 2) :]
    return changepoint(np.log(window)) is None


def changepoint(values: np.ndarray) -> int | None:
    """Where a series best splits into two levels, or None if one level explains it.

    The best split is where two means in place of one reduce the sum of squares most. It counts if
    that reduction exceeds 3 log(n) times the noise variance, the penalty of the modified Bayesian
    information criterion (Zhang and Siegmund 2007), and if the levels differ by more than 1 %. The
    variance is estimated from the median difference of neighbours, which is robust to a step and to
    a few outlying blocks.

    Args:
        values: logarithms of times, float [n], n at least 6.

    Returns:
        The index of the first value of the second level.
    """
    count = len(values)
    places = np.arange(_MARGIN, count - _MARGIN + 1)
    sums = np.cumsum(values)[places - 1]
    apart = (values.sum() - sums) / (count - places) - sums / places
    gains = places * (count - places) / count * apart**2
    best = int(np.argmax(gains))
    # for normal noise, the median difference of neighbours is 0.6745 sqrt(2) standard deviations
    noise = float(np.median(np.abs(np.diff(values)))) / (0.6745 * math.sqrt(2))
    if gains[best] <= 3 * math.log(count) * noise**2 or abs(apart[best]) <= _SMALLEST_CHANGE:
        return None
    return int(places[best])
