"""How many layers to keep in floating point so that an engine meets its budgets."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from tmkd_deploy.records.quantization import SearchOutcome


@dataclass(frozen=True)
class TrialOutcome:
    """How an engine with some layers excluded from quantization compares with its budgets.

    It is `inaccurate` if it breaks an accuracy budget and `slow` if it breaks any other.
    `conclusive` is False if it breaks none, but the measurement was inconclusive for some.
    """

    inaccurate: bool
    slow: bool
    conclusive: bool = True


@dataclass(frozen=True)
class SearchResult:
    """How the search ended, and each trial's number of excluded layers; the last one stands."""

    outcome: SearchOutcome
    counts: list[int]


def fewest_estimated(points_lost: Sequence[float], allowed: float) -> int:
    """The fewest layers to exclude, at least one, for an estimated loss within `allowed` points.

    `points_lost[n]` is the loss in points estimated with n excluded layers. If no number suffices,
    the result is the number that loses least; without layers it is 0.
    """
    counts = range(1, len(points_lost))
    return min(counts, key=lambda count: (max(points_lost[count], allowed), count), default=0)


def solve(
    layers: int,
    estimated: int,
    max_trials: int,
    trial: Callable[[int], TrialOutcome],
    *,
    student_accurate: bool = True,
) -> SearchResult:
    """Find how many of `layers` layers, the most sensitive first, must stay in floating point.

    More excluded layers are assumed to make an engine more accurate and slower. The first trial
    excludes none and the second `estimated` layers; from there the number doubles while the engine
    is inaccurate. Once it is too slow, the search bisects. Where the student is inaccurate even
    without quantization, there is one trial, because fine-tuning may gain what it lacks.

    Args:
        layers: the number of layers that can be excluded.
        estimated: where to start, see `fewest_estimated`.
        max_trials: how often `trial` may be called.
        trial: builds and measures an engine with a given number of excluded layers.
        student_accurate: whether the unquantized student meets the accuracy budgets.
    """
    too_few, too_many = -1, layers + 1  # the largest count known too low, the smallest too high
    counts: list[int] = []
    count = 0
    while len(counts) < max_trials and too_few < count < too_many:
        counts.append(count)
        result = trial(count)
        if not (result.inaccurate or result.slow):
            outcome = SearchOutcome.WITHIN if result.conclusive else SearchOutcome.UNCERTAIN
            return SearchResult(outcome, counts)
        if result.inaccurate and not student_accurate:
            return SearchResult(SearchOutcome.STUDENT_INACCURATE, counts)
        if result.inaccurate:
            too_few = count
        if result.slow:
            too_many = count
        if too_many <= layers:
            count = (too_few + too_many) // 2
        else:
            count = min(layers, max(estimated, 2 * count))
    exhausted = too_many - too_few <= 1
    return SearchResult(SearchOutcome.NONE if exhausted else SearchOutcome.OUT_OF_TRIALS, counts)
