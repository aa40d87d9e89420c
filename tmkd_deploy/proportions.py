"""Intervals for shares and for paired changes of shares, and a test for changes."""

from __future__ import annotations

import math
from collections.abc import Sequence

from tmkd_deploy.records.figures import Interval

_Z = 1.959963984540054
_TAIL = 0.05  # of a one-sided 95 % bound


def share_interval(right: int, total: int) -> Interval:
    """The 95 % Wilson score interval (1927) of a share."""
    share = right / total
    centre = (share + _Z**2 / (2 * total)) / (1 + _Z**2 / total)
    spread = math.sqrt(share * (1 - share) / total + _Z**2 / (4 * total**2))
    half = _Z / (1 + _Z**2 / total) * spread
    # near 0 and 1, rounding may leave the share itself outside
    return max(0.0, min(share, centre - half)), min(1.0, max(share, centre + half))


def fewest_right(total: int, share: float) -> int | None:
    """The fewest of `total` that must be right to show `share`, which lies in (0, 1).

    The one-sided 95 % lower bound of Clopper and Pearson (1934) is then at least `share`: if the
    true share were `share`, so few mistakes would happen in at most 5 % of all samples. None if
    even no mistake among `total` does not show it.
    """

    def probability(wrong: int) -> float:
        right = total - wrong
        ways = math.lgamma(total + 1) - math.lgamma(wrong + 1) - math.lgamma(right + 1)
        return math.exp(ways + wrong * math.log1p(-share) + right * math.log(share))

    wrong, tail = 0, probability(0)
    while tail <= _TAIL:
        wrong += 1
        tail += probability(wrong)
    return total - wrong + 1 if wrong else None


def fewest_to_show(share: float) -> int:
    """How many images, all of them right, show `share` in the sense of `fewest_right`."""
    total = max(1, math.ceil(math.log(_TAIL) / math.log(share)))
    # the logarithm may be off by a rounding
    return total if fewest_right(total, share) is not None else total + 1


def paired_change_interval(gained: int, lost: int, total: int) -> Interval:
    """The 95 % interval of (gained - lost) / total on the same images, in [-1, 1].

    Agresti and Min (2005): the Wald interval for paired proportions after adding 1/2 to each of the
    four cells, which remains sensible if almost nothing changed.
    """
    total_plus = total + 2.0
    gained_share, lost_share = (gained + 0.5) / total_plus, (lost + 0.5) / total_plus
    change = gained_share - lost_share
    variance = (gained_share + lost_share - change**2) / total_plus
    half = _Z * math.sqrt(max(variance, 0.0))
    return max(-1.0, change - half), min(1.0, change + half)


def mcnemar_p_value(gained: int, lost: int) -> float:
    """The exact two-sided p-value of a paired change, in (0, 1]; 1 if nothing changed.

    McNemar's test (1947) in its exact form: under the null hypothesis, the smaller count is
    binomial with n = gained + lost and probability 1/2, so p is the smaller of 1 and
    2 * (sum of C(n, k) for k from 0 to the smaller count) / 2^n. The sum uses integers, so only the
    final division rounds (and underflows to 0).
    """
    flips = gained + lost
    term = tail = 1
    for k in range(1, min(gained, lost) + 1):
        term = term * (flips - k + 1) // k
        tail += term
    return min(1.0, 2 * tail / (1 << flips))


def p_value_text(p_value: float) -> str:
    """A p-value as text, such as '0.032', '0.45' or '< 0.001'."""
    if p_value < 0.001:
        return "< 0.001"
    return f"{p_value:.3f}" if p_value < 0.1 else f"{p_value:.2f}"


def mean_interval(shares: Sequence[float], intervals: Sequence[Interval]) -> Interval:
    """The 95 % interval of the mean of independent shares, from the interval of each.

    Zou and Donner (2008), "MOVER": the distances to the ends are added in quadrature.
    """
    mean = sum(shares) / len(shares)
    pairs = list(zip(shares, intervals, strict=True))
    below = math.hypot(*(share - low for share, (low, _) in pairs)) / len(shares)
    above = math.hypot(*(high - share for share, (_, high) in pairs)) / len(shares)
    return max(0.0, mean - below), min(1.0, mean + above)


def images_to_decide_share(share: float, limit: float) -> int | None:
    """How many images would put the whole 95 % interval of `share` on one side of `limit`.

    This inverts `share_interval`, if the share stays as it is. None if it equals the limit.
    """
    if math.isclose(share, limit, abs_tol=1e-12):
        return None
    return math.ceil(_Z**2 * limit * (1 - limit) / (share - limit) ** 2)


def images_to_decide_change(gained: int, lost: int, total: int, limit: float) -> int | None:
    """As `images_to_decide_share`, for a paired change of a share; inverts its interval.

    The images that gain and lose stay the same shares of all. None if the change is the limit.
    """
    change = (gained - lost) / total
    if math.isclose(change, limit, abs_tol=1e-12):
        return None
    changed = (gained + lost + 1) / (total + 2)
    return max(total + 1, math.ceil(_Z**2 * (changed - change**2) / (change - limit) ** 2))
