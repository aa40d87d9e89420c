"""How many layers to leave in floating point, so that an engine keeps its budgets."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from tmkd_deploy.records.quantization import Ending


@dataclass(frozen=True)
class Tried:
    """What an engine with some layers left out showed.

    It is `inaccurate` where it breaks an accuracy budget and `slow` where it breaks another one;
    `certain` is False where it breaks none but a measurement could not tell.
    """

    inaccurate: bool
    slow: bool
    certain: bool = True


@dataclass(frozen=True)
class Solution:
    """How the search ended, and the number of layers left out in each try; the last one stands."""

    ending: Ending
    counts: list[int]


def fewest_estimated(points_lost: Sequence[float], allowed: float) -> int:
    """How many layers to leave out, at least one, so that an estimate keeps to `allowed` points.

    `points_lost[n]` is the loss estimated with n layers left out. Where no number suffices it is
    the one that loses least.
    """
    counts = range(1, len(points_lost))
    return min(counts, key=lambda count: (max(points_lost[count], allowed), count), default=0)


def solve(layers: int, estimated: int, attempts: int, attempt: Callable[[int], Tried]) -> Solution:
    """Find how many of `layers`, the costliest first, have to be left out.

    More layers left out are taken to make an engine more accurate and slower. Nothing is left out
    in the first try and `estimated` layers in the second; from there the number doubles while the
    engine is inaccurate. Once it is slow instead, the search halves the way back.

    Args:
        attempts: how often `attempt`, which makes and measures an engine, may be called.
    """
    inaccurate, slow = -1, layers + 1  # the most known to be too few, the fewest to be too many
    counts: list[int] = []
    count = 0
    while len(counts) < attempts and inaccurate < count < slow:
        counts.append(count)
        tried = attempt(count)
        if not (tried.inaccurate or tried.slow):
            return Solution(Ending.WITHIN if tried.certain else Ending.UNCERTAIN, counts)
        if tried.inaccurate:
            inaccurate = count
        if tried.slow:
            slow = count
        if slow <= layers:
            count = (inaccurate + slow) // 2
        else:
            count = min(layers, max(estimated, 2 * count))
    nothing_between = slow - inaccurate <= 1
    return Solution(Ending.NONE if nothing_between else Ending.OUT_OF_TRIES, counts)
