"""Calibration: the range of each activation, from training images only."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from tmkd_deploy.quantize.ranges import entropy_bins, percentile_bins, squared_error_bins

_BINS = 2048


class Collector:
    """A histogram of magnitudes whose range doubles when a larger value comes.

    `largest` is the largest magnitude and `smallest` the smallest value, at most 0. Once a value
    was not finite, `largest` is not, and nothing more is counted.
    """

    def __init__(self) -> None:
        self.counts = torch.zeros(_BINS, dtype=torch.float64)
        self.top = 0.0
        self.largest = 0.0
        self.smallest = 0.0

    def see(self, values: Tensor) -> None:
        """Count the magnitudes of `values`."""
        values = values.detach().float().cpu()
        magnitudes = values.abs()
        largest = float(magnitudes.max())
        if not (math.isfinite(largest) and math.isfinite(self.largest)):
            self.largest = math.nan
            return
        self.largest = max(self.largest, largest)
        self.smallest = min(self.smallest, float(values.min()))
        if self.top == 0.0:
            self.top = max(largest, 1e-12)
        while largest > self.top:
            pairs = self.counts.view(-1, 2).sum(dim=1)
            self.counts = torch.cat([pairs, torch.zeros_like(pairs)])
            self.top *= 2.0
        self.counts += torch.histc(magnitudes, _BINS, 0.0, self.top).double()

    def amax(self, method: str, percentile: float, levels: int) -> float:
        """The magnitude to represent, by one of the methods of `recipe.schema.Calibration`.

        `levels` is the largest integer of the grid, 127 or 255. A range never cuts a bin in two
        and never exceeds the largest magnitude.
        """
        counts = self.counts.numpy()
        if method == "max" or not counts[1:].any():
            return self.largest
        bins = {
            "percentile": lambda: percentile_bins(counts, percentile),
            "entropy": lambda: entropy_bins(counts, levels),
            "mse": lambda: squared_error_bins(counts, levels),
        }[method]()
        return min(bins * self.top / _BINS, self.largest)
