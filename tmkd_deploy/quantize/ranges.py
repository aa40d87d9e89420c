"""Clipping ranges: where to cut a histogram of magnitudes before rounding to eight bits.

Every function takes `counts`, float64 [bins], the number of values in bins of equal width that
start at zero, and returns the number of bins within the range. `levels` is the largest integer of
the grid: 127 for signed values, 255 for unsigned ones.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Counts = npt.NDArray[np.float64]


def percentile_bins(counts: Counts, percentile: float) -> int:
    """The smallest range that contains `percentile` % of the values.

    The bin at zero is not counted: clipping does not change its values, and after a ReLU there are
    so many that they would pull every percentile down.
    """
    above_zero = counts.copy()
    above_zero[0] = 0.0
    within = np.cumsum(above_zero) >= percentile / 100.0 * above_zero.sum()
    return int(np.argmax(within)) + 1


def entropy_bins(counts: Counts, levels: int) -> int:
    """The range that minimises the KL divergence of the quantized from the clipped histogram.

    After S. Migacz, "8-bit Inference with TensorRT" (GTC 2017, S7310): the clipped histogram P
    counts everything beyond the range in its last bin; Q merges the bins into levels + 1 groups and
    spreads each group's sum evenly over its non-empty bins. As in pytorch-quantization, the bin at
    zero is set to its neighbour's count, and the widest of equally good ranges wins. No range is
    shorter than one bin per group, so at most fifteen sixteenths are cut off.
    """
    counts = counts.copy()
    counts[0] = counts[1]
    groups = levels + 1
    total, last = counts.sum(), _last_bin(counts)
    best, least = last, np.inf
    for bins in range(groups, last + 1):
        within = counts[:bins]
        if within[-1] == 0:  # Q would be 0 where P has all the clipped values
            continue
        clipped = within.copy()
        clipped[-1] += total - within.sum()
        divergence = _divergence(clipped, _merged(within, groups))
        if divergence <= least:
            best, least = bins, divergence
    return best


def squared_error_bins(counts: Counts, levels: int) -> int:
    """The range that minimises the squared error of clipping and rounding."""
    centres = np.arange(len(counts)) + 0.5
    centres[0] = 0.0  # nearly all of these values are exactly zero
    best, least = 0, np.inf
    for bins in range(1, _last_bin(counts) + 1):
        step = bins / levels
        rounded = np.minimum(np.rint(centres / step), levels) * step
        error = float(counts @ (centres - rounded) ** 2)
        if error <= least:
            best, least = bins, error
    return best


def _last_bin(counts: Counts) -> int:
    """The number of bins up to and including the last non-empty one."""
    return int(np.flatnonzero(counts)[-1]) + 1


def _merged(counts: Counts, groups: int) -> Counts:
    """The counts merged into `groups`, each spread evenly over its non-empty bins."""
    occupied = counts > 0
    group = np.arange(len(counts)) * groups // len(counts)
    sums = np.bincount(group, counts, groups)
    occupied_bins = np.bincount(group, occupied, groups)
    spread: Counts = np.where(occupied, (sums / np.maximum(occupied_bins, 1.0))[group], 0.0)
    return spread


def _divergence(clipped: Counts, merged: Counts) -> float:
    """KL divergence in nats of two histograms; `merged` is 0 only where `clipped` is."""
    occupied = clipped > 0
    p, q = clipped[occupied] / clipped.sum(), merged[occupied] / merged.sum()
    return float(p @ np.log(p / q))
