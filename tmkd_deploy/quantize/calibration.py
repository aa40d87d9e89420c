"""Calibration: the range of each activation, from training images only."""

from __future__ import annotations

import torch
from torch import Tensor

_BINS = 2048


class Collector:
    """A histogram of magnitudes whose range doubles when a larger value comes."""

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
        self.largest = max(self.largest, largest)
        self.smallest = min(self.smallest, float(values.min()))
        if self.top == 0.0:
            self.top = max(largest, 1e-12)
        while largest > self.top:
            pairs = self.counts.view(-1, 2).sum(dim=1)
            self.counts = torch.cat([pairs, torch.zeros_like(pairs)])
            self.top *= 2.0
        self.counts += torch.histc(magnitudes, _BINS, 0.0, self.top).double()

    def amax(self, method: str, percentile: float) -> float:
        """The magnitude to represent: the largest, or that below which `percentile` % lie.

        A percentile never cuts below the bin in which it falls, and exact zeros, which clip to
        themselves, are not counted among the values.
        """
        if method == "max":
            return self.largest
        counts = self.counts.clone()
        counts[0] = 0.0
        if counts.sum() == 0:
            return self.largest
        reached = torch.cumsum(counts, dim=0) >= percentile / 100.0 * counts.sum()
        upper = (int(torch.nonzero(reached)[0]) + 1) * self.top / _BINS
        return min(upper, self.largest)
