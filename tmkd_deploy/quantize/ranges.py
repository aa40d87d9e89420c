"""Where to cut a histogram of magnitudes before its values are rounded to eight bits.

Every function takes `counts`, float64 [bins], the number of values in each bin of equal width from
zero up, and returns how many bins, counted from zero, the range holds. `levels` is the largest
integer of the grid: 127 where a sign takes one bit, 255 where there is none.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Counts = npt.NDArray[np.float64]


def percentile_bins(counts: Counts, percentile: float) -> int:
    """The least range below which `percentile` % of the values lie.

    The bin at zero is not counted: its values clip to themselves, and after a ReLU there are so
    many that they would pull any percentile down.
    """
    above_zero = counts.copy()
    above_zero[0] = 0.0
    reached = np.cumsum(above_zero) >= percentile / 100.0 * above_zero.sum()
    return int(np.argmax(reached)) + 1


def entropy_bins(counts: Counts, levels: int) -> int:
    """The range whose rounded histogram tells least apart from the clipped one.

    The Kullback-Leibler divergence of both is least, after S. Migacz, "8-bit Inference with
    TensorRT" (GTC 2017, S7310): the clipped histogram P has what lies beyond the range in its last
    bin; Q merges the bins into levels + 1 groups and spreads each group's sum over those of its
    bins that are not empty. As in pytorch-quantization, the bin at zero is taken to be as full as
    its neighbour, and of equally good ranges the widest is chosen. No range is shorter than one
    bin a group, so at most fifteen sixteenths are cut off.
    """
    counts = counts.copy()
    counts[0] = counts[1]
    groups = levels + 1
    total, last = counts.sum(), _last_bin(counts)
    best, least = last, np.inf
    for bins in range(groups, last + 1):
        within = counts[:bins]
        if within[-1] == 0:  # Q would hold a bin impossible that P has all the clipped values in
            continue
        clipped = within.copy()
        clipped[-1] += total - within.sum()
        divergence = _divergence(clipped, _merged(within, groups))
        if divergence <= least:
            best, least = bins, divergence
    return best


def squared_error_bins(counts: Counts, levels: int) -> int:
    """The range for which clipping and rounding together cost the least squared error."""
    centres = np.arange(len(counts)) + 0.5
    centres[0] = 0.0  # nearly all that lies there is exactly zero
    best, least = 0, np.inf
    for bins in range(1, _last_bin(counts) + 1):
        step = bins / levels
        rounded = np.minimum(np.rint(centres / step), levels) * step
        error = float(counts @ (centres - rounded) ** 2)
        if error <= least:
            best, least = bins, error
    return best


def _last_bin(counts: Counts) -> int:
    """How many bins there are up to the last that is not empty."""
    return int(np.flatnonzero(counts)[-1]) + 1


def _merged(counts: Counts, groups: int) -> Counts:
    filled = counts > 0
    group = np.arange(len(counts)) * groups // len(counts)
    sums = np.bincount(group, counts, groups)
    sharing = np.bincount(group, filled, groups)
    spread: Counts = np.where(filled, (sums / np.maximum(sharing, 1.0))[group], 0.0)
    return spread


def _divergence(clipped: Counts, merged: Counts) -> float:
    """Kullback-Leibler divergence in nats of two histograms, the second never 0 alone."""
    filled = clipped > 0
    p, q = clipped[filled] / clipped.sum(), merged[filled] / merged.sum()
    return float(p @ np.log(p / q))
