"""Whether an engine has warmed up: a changepoint rule on the medians of short blocks of runs.

Barrett et al. (2017), "Virtual Machine Warmup Blows Hot and Cold", part a series of run times at
its changepoints and call a program steady where the last of them lies far enough back. This is the
same idea, small enough to be applied while an engine warms up: one changepoint at a time, in the
second half of what has been seen.
"""

from __future__ import annotations

import math
from typing import Sequence

import numpy as np

BLOCKS = 20  # the least that are judged
_MARGIN = 3  # a level has at least so many blocks: fewer may be chance
_SMALLEST_CHANGE = math.log(1.01)


def is_warmed_up(medians: Sequence[float]) -> bool:
    """Whether the second half of the blocks, at least the last 20 of them, has one level.

    `medians` has one positive time for each block since the first run, in any unit.
    """
    if len(medians) < BLOCKS:
        return False
    window = medians[-max(BLOCKS, len(medians) // 2) :]
    return changepoint(np.log(window)) is None


def changepoint(values: np.ndarray) -> int | None:
    """Where a series best parts into two levels, or None where one level explains it.

    The best place is where two means instead of one lower the sum of squares most. It counts if it
    lowers it by more than 3 log(n) times the noise's variance, which is what a changepoint must pay
    by the modified Bayes information criterion (Zhang and Siegmund 2007), and if the levels are
    more than 1 % apart. The variance is taken from the median difference of neighbours, which
    neither a step nor a few wild blocks enlarge.

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
    # of normal noise, the median difference of neighbours is 0.6745 sqrt(2) standard deviations
    noise = float(np.median(np.abs(np.diff(values)))) / (0.6745 * math.sqrt(2))
    if gains[best] <= 3 * math.log(count) * noise**2 or abs(apart[best]) <= _SMALLEST_CHANGE:
        return None
    return int(places[best])
