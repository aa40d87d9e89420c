"""Intervals against published values, brute force and what must hold for any counts."""

import math
from fractions import Fraction
from math import comb

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest

from tmkd_deploy.measure.statistics import median_ratio_interval, percentile_interval
from tmkd_deploy.proportions import (
    mcnemar_p_value,
    p_value_text,
    paired_change_interval,
    share_interval,
)

COUNTS = st.integers(1, 2000).flatmap(
    lambda total: st.tuples(st.integers(0, total), st.just(total))
)
CHANGES = st.integers(1, 2000).flatmap(
    lambda total: st.integers(0, total).flatmap(
        lambda gained: st.tuples(st.just(gained), st.integers(0, total - gained), st.just(total))
    )
)


@pytest.mark.parametrize(
    ("right", "total", "low", "high"),
    [
        # Newcombe 1998, Statistics in Medicine 17, 857-872, table I, method 3
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ],
)
def test_shares_have_the_published_intervals(right, total, low, high):
    assert share_interval(right, total) == pytest.approx((low, high), abs=5e-5)


@given(COUNTS)
def test_an_interval_holds_its_share_and_solves_wilsons_equation(counts):
    right, total = counts
    low, high = share_interval(right, total)
    share = right / total
    assert 0 <= low <= share <= high <= 1
    for bound in (low, high):
        # the bounds are the shares that lie 1.96 of their own standard errors away
        if 0 < bound < 1:
            error = np.sqrt(bound * (1 - bound) / total)
            assert abs(share - bound) == pytest.approx(1.959964 * error, rel=1e-4, abs=1e-9)


@given(COUNTS)
def test_right_and_wrong_are_mirror_images(counts):
    right, total = counts
    low, high = share_interval(right, total)
    assert share_interval(total - right, total) == pytest.approx((1 - high, 1 - low), abs=1e-12)


@given(CHANGES)
def test_a_paired_interval_holds_the_change_and_mirrors(changes):
    gained, lost, total = changes
    low, high = paired_change_interval(gained, lost, total)
    assert -1 <= low < high <= 1
    assert low <= (gained - lost) / total <= high
    mirrored = paired_change_interval(lost, gained, total)
    assert mirrored == pytest.approx((-high, -low), abs=1e-12)


def test_nothing_changed_is_an_interval_around_nothing():
    low, high = paired_change_interval(0, 0, 500)
    assert low == -high
    assert 0 < high < 0.01


def test_paired_intervals_hold_the_truth_about_19_times_in_20():
    random = np.random.default_rng(0)
    total, truth = 400, (0.06, 0.04)
    drawn = random.multinomial(total, [*truth, 1 - sum(truth)], size=2000)
    held = 0
    for gained, lost, _ in drawn:
        low, high = paired_change_interval(int(gained), int(lost), total)
        held += low <= truth[0] - truth[1] <= high
    assert 0.93 <= held / len(drawn) <= 0.975


FLIPS = st.integers(0, 400)


@given(FLIPS, FLIPS)
def test_the_p_value_is_that_of_an_exact_binomial_test(gained, lost):
    found = mcnemar_p_value(gained, lost)
    assert 0 < found <= 1
    assert found == mcnemar_p_value(lost, gained)
    if gained + lost:
        assert found == pytest.approx(binomtest(gained, gained + lost, 0.5).pvalue, rel=1e-9)


@given(st.integers(0, 60), st.integers(0, 60))
def test_the_p_value_counts_the_outcomes_at_least_as_uneven(gained, lost):
    flips = gained + lost
    uneven = [comb(flips, k) for k in range(flips + 1) if abs(2 * k - flips) >= abs(gained - lost)]
    assert mcnemar_p_value(gained, lost) == float(Fraction(sum(uneven), 2**flips))


def test_no_flips_and_even_flips_say_nothing():
    assert mcnemar_p_value(0, 0) == 1.0
    assert mcnemar_p_value(7, 7) == 1.0


def test_many_flips_neither_overflow_nor_round_to_nonsense():
    assert mcnemar_p_value(9_900, 10_100) == pytest.approx(0.1594, abs=5e-4)
    assert mcnemar_p_value(0, 20_000) == 0.0


@given(CHANGES)
def test_where_the_p_value_is_significant_the_interval_excludes_zero(changes):
    """So a report that goes by the p-value never names a change whose interval holds zero."""
    gained, lost, total = changes
    if mcnemar_p_value(gained, lost) < 0.05:
        low, high = paired_change_interval(gained, lost, total)
        assert low > 0 or high < 0


@pytest.mark.parametrize(
    ("p_value", "text"),
    [(0.0, "< 0.001"), (0.00099, "< 0.001"), (0.0123, "0.012"), (0.0496, "0.050"), (1.0, "1.00")],
)
def test_p_values_are_worded_with_the_digits_that_matter(p_value, text):
    assert p_value_text(p_value) == text


@settings(deadline=None, max_examples=6)
@given(st.integers(0, 1000), st.floats(1.0, 99.0))
def test_percentile_intervals_hold_the_percentile(seed, percentile):
    blocks = np.random.default_rng(seed).gamma(20, 0.05, (30, 10))
    low, high = percentile_interval(blocks, percentile, seed)
    assert 0 < low <= np.percentile(blocks, percentile) <= high
    assert percentile_interval(blocks, percentile, seed) == (low, high)


def test_ratios_are_paired_within_rounds():
    """Noise that both engines share in a round cancels; drawn apart it would not."""
    random = np.random.default_rng(0)
    shared = random.uniform(0.5, 2.0, (60, 1))
    below = shared * random.normal(1.0, 0.01, (60, 10))
    above = 3.0 * shared * random.normal(1.0, 0.01, (60, 10))
    low, high = median_ratio_interval(above, below, 0)
    assert low <= 3.0 <= high
    assert high - low < 0.2
    apart = median_ratio_interval(above[random.permutation(60)], below, 0)
    assert apart[1] - apart[0] > 2 * (high - low)


def test_whole_rounds_are_drawn():
    """Ten runs that are copies of one say no more than that one."""
    rounds = np.random.default_rng(0).gamma(20, 0.05, (30, 1))
    narrow = percentile_interval(np.random.default_rng(1).gamma(20, 0.05, (30, 10)), 50, 0)
    wide = percentile_interval(np.repeat(rounds, 10, axis=1), 50, 0)
    assert wide[1] - wide[0] > 1.5 * (narrow[1] - narrow[0])


@pytest.mark.parametrize("drift", [0.0, 0.02, 0.1])
def test_intervals_hold_what_a_machine_drifts_between_measurements(drift):
    """Levels wander from stretch to stretch of a run, and by as much from run to run."""
    random = np.random.default_rng(4)

    def run():
        levels = np.exp(random.normal(0, drift, 9))
        # the run's own level times those of its stretches
        rounds = levels[0] * np.repeat(levels[1:], 5)[:, None]
        blocks = rounds * random.gamma(400, 1 / 400, (40, 10))
        return float(np.median(blocks)), percentile_interval(blocks, 50, 0)

    pairs = [(run(), run()) for _ in range(30)]
    agree = sum(
        first[0] <= second[1] and second[0] <= first[1] for (_, first), (_, second) in pairs
    )
    assert agree >= 29
    widths = [high / low for pair in pairs for _, (low, high) in pair]
    # and are not so wide that they say nothing
    assert np.median(widths) < math.exp(8 * math.hypot(drift, 0.01))


def test_a_ratio_is_not_widened_by_what_both_engines_share():
    random = np.random.default_rng(0)
    shared = np.repeat(random.uniform(0.5, 2.0, (8, 1)), 5, axis=0)
    below = shared * random.normal(1.0, 0.01, (40, 10))
    above = 3.0 * shared * random.normal(1.0, 0.01, (40, 10))
    low, high = median_ratio_interval(above, below, 0)
    assert low <= 3.0 <= high and high / low < 1.1
    low, high = percentile_interval(above, 50, 0)
    assert high / low > 2
