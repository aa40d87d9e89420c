"""Intervals for percentiles and ratios of times; those for shares are in `proportions`."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from tmkd_deploy.records.figures import Interval

_RESAMPLES = 1000
_SEGMENTS = 8
_T = 2.364624251592785  # the 97.5th percentile of Student's t with 7 degrees of freedom


def percentile_interval(blocks: np.ndarray, percentile: float, seed: int) -> Interval:
    """The 95 % interval of a percentile of times, including drift between measurements.

    Two components are added in quadrature on a logarithmic scale. Sampling error: the bootstrap
    interval over whole rounds, because neighbouring times are correlated. Drift of the machine:
    between measurements it is assumed to equal the drift between eighths of this measurement, so
    this component is Student's t with 7 degrees of freedom times the standard deviation of the
    eighths' log medians. benchmarks/latency_agreement.py measures the coverage.

    Args:
        blocks: positive times [rounds, runs per round] in measurement order, at least 8 rounds.
        percentile: in [0, 100].
        seed: for the bootstrap.
    """
    return _with_drift(
        float(np.percentile(blocks, percentile)),
        _bootstrap(
            lambda drawn: np.percentile(_joined(blocks, drawn), percentile, axis=1), blocks, seed
        ),
        _log_medians(blocks),
    )


def median_ratio_interval(numerator: np.ndarray, denominator: np.ndarray, seed: int) -> Interval:
    """The 95 % interval of a ratio of medians, as `percentile_interval` but paired.

    Rounds are resampled in pairs and the drift is that of the eighths' ratios, so disturbances that
    affect both engines equally do not widen the interval.

    Args:
        numerator: positive times [rounds, runs per round], at least 8 rounds.
        denominator: likewise, of the same rounds.
        seed: for the bootstrap.
    """
    return _with_drift(
        float(np.median(numerator) / np.median(denominator)),
        _bootstrap(
            lambda drawn: (
                np.median(_joined(numerator, drawn), axis=1)
                / np.median(_joined(denominator, drawn), axis=1)
            ),
            numerator,
            seed,
        ),
        _log_medians(numerator) - _log_medians(denominator),
    )


def _log_medians(blocks: np.ndarray) -> np.ndarray:
    segments = np.array_split(np.arange(len(blocks)), _SEGMENTS)
    return np.log([np.median(blocks[rounds]) for rounds in segments])


def _with_drift(estimate: float, sampled: Interval, levels: np.ndarray) -> Interval:
    drift = _T * float(levels.std(ddof=1))
    low, high = (math.hypot(math.log(estimate / end), drift) for end in sampled)
    return estimate * math.exp(-low), estimate * math.exp(high)


def _bootstrap(
    statistic: Callable[[np.ndarray], np.ndarray], blocks: np.ndarray, seed: int
) -> Interval:
    random = np.random.default_rng(seed)
    drawn = random.integers(0, len(blocks), size=(_RESAMPLES, len(blocks)))
    # many resamples at a time, but only about ten megabytes of them
    parts = np.array_split(drawn, min(_RESAMPLES, 1 + _RESAMPLES * blocks.size // 1_000_000))
    low, high = np.percentile(np.concatenate([statistic(part) for part in parts]), [2.5, 97.5])
    return float(low), float(high)


def _joined(blocks: np.ndarray, drawn: np.ndarray) -> np.ndarray:
    """The times of each resample's rounds, one resample per row."""
    joined: np.ndarray = blocks[drawn].reshape(len(drawn), -1)
    return joined
