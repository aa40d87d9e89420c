"""Calibration: collecting the magnitudes of an activation, and choosing its range."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from tmkd_deploy.quantize.ranges import entropy_bins, percentile_bins, squared_error_bins

_BINS = 2048


class MagnitudeHistogram:
    """A histogram of magnitudes whose range doubles whenever a larger value arrives.

    `largest` is the largest magnitude and `smallest` the smallest value, at most 0. After a value
    that is not finite `largest` is NaN, and nothing more is counted.
    """

    def __init__(self) -> None:
        self.counts = torch.zeros(_BINS, dtype=torch.float64)
        self.upper_edge = 0.0
        self.largest = 0.0
        self.smallest = 0.0

    def update(self, values: Tensor) -> None:
        """Count the magnitudes of `values`, of any shape."""
        values = values.detach().float().cpu()
        magnitudes = values.abs()
        largest = float(magnitudes.max())
        if not (math.isfinite(largest) and math.isfinite(self.largest)):
            self.largest = math.nan
            return
        self.largest = max(self.largest, largest)
        self.smallest = min(self.smallest, float(values.min()))
        if self.upper_edge == 0.0:
            self.upper_edge = max(largest, 1e-12)
        while largest > self.upper_edge:
            pairs = self.counts.view(-1, 2).sum(dim=1)
            self.counts = torch.cat([pairs, torch.zeros_like(pairs)])
            self.upper_edge *= 2.0
        self.counts += torch.histc(magnitudes, _BINS, 0.0, self.upper_edge).double()

    def amax(self, method: str, percentile: float, levels: int) -> float:
        """The largest magnitude to represent, by a method of `recipe.schema.Calibration`.

        Args:
            method: max, percentile, entropy or mse.
            percentile: in [0, 100]; for the method percentile only.
            levels: the largest integer of the grid, 127 or 255.

        Returns:
            A magnitude at the edge of a bin, at most `largest`.
        """
        counts = self.counts.numpy()
        if method == "max" or not counts[1:].any():
            return self.largest
        bins = {
            "percentile": lambda: percentile_bins(counts, percentile),
            "entropy": lambda: entropy_bins(counts, levels),
            "mse": lambda: squared_error_bins(counts, levels),
        }[method]()
        return min(bins * self.upper_edge / _BINS, self.largest)
