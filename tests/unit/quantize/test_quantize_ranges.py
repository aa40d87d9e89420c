"""Activation ranges against simple implementations, and the properties of each method."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import entropy

from tmkd_deploy.quantize.calibration import MagnitudeHistogram
from tmkd_deploy.quantize.ranges import entropy_bins, squared_error_bins

METHODS = ["max", "percentile", "entropy", "mse"]


def collected(values, batches=1):
    histogram = MagnitudeHistogram()
    for part in np.array_split(np.asarray(values, dtype=np.float32), batches):
        histogram.update(torch.from_numpy(part))
    return histogram


@settings(deadline=None, max_examples=60)
@given(
    st.integers(0, 2**32 - 1),
    st.floats(0.01, 100.0),
    st.floats(50.5, 100.0),
    st.integers(1, 5),
)
def test_ranges_are_those_numpy_finds(seed, size, percentile, batches):
    random = np.random.default_rng(seed)
    values = random.normal(0, size, 4000).astype(np.float32)
    histogram = collected(values, batches)
    magnitudes = np.abs(values)
    assert histogram.amax("max", percentile, 127) == magnitudes.max()
    found = histogram.amax("percentile", percentile, 127)
    # a bin is 1/2048 to 1/1024 of the largest value wide; the zero bin is not counted
    expected = [
        np.percentile(
            magnitudes[magnitudes > magnitudes.max() / bins], percentile, method="inverted_cdf"
        )
        for bins in (2048, 1024)
    ]
    slack = 2 * magnitudes.max() / 1024
    assert min(expected) - slack <= found <= max(expected) + slack
    assert found <= magnitudes.max()


def divergences(counts, groups):
    """The divergence of each range, computed bin by bin as Migacz describes it."""
    counts = [float(count) for count in counts]
    counts[0] = counts[1]
    last = max(index for index, count in enumerate(counts) if count) + 1
    found = {}
    for bins in range(groups, last + 1):
        clipped = counts[:bins]
        clipped[-1] += sum(counts[bins:])
        rounded = [0.0] * bins
        for group in range(groups):
            # bin b belongs to the group whose interval contains its lower edge
            members = [b for b in range(bins) if group * bins <= b * groups < (group + 1) * bins]
            filled = [b for b in members if counts[b]]
            for b in filled:
                rounded[b] = sum(counts[m] for m in members) / len(filled)
        found[bins] = entropy(clipped, rounded) if any(rounded) else math.inf
    return found


@st.composite
def histograms(draw):
    bins = draw(st.integers(24, 60))
    counts = draw(st.lists(st.sampled_from([0, 0, 1, 2, 5, 30, 400]), min_size=bins, max_size=bins))
    counts[bins // 2] += 1  # the upper half is never empty
    return np.array(counts, dtype=np.float64)


@settings(deadline=None, max_examples=25)
@given(histograms(), st.sampled_from([3, 7]))
def test_the_chosen_range_minimises_the_divergence(counts, levels):
    before = counts.copy()
    expected = divergences(counts, levels + 1)
    assert expected[entropy_bins(counts, levels)] <= min(expected.values()) + 1e-9
    assert np.array_equal(counts, before)


@settings(deadline=None, max_examples=60)
@given(histograms(), st.sampled_from([3, 7, 15]))
def test_the_chosen_range_minimises_the_squared_error(counts, levels):
    expected = {}
    for bins in range(1, int(np.flatnonzero(counts)[-1]) + 2):
        error = 0.0
        for index, count in enumerate(counts):
            value = index + 0.5 if index else 0.0
            grid = [level * bins / levels for level in range(levels + 1)]
            error += count * min((value - step) ** 2 for step in grid)
        expected[bins] = error
    found = expected[squared_error_bins(counts, levels)]
    assert found <= min(expected.values()) * (1 + 1e-9) + 1e-9


@settings(deadline=None, max_examples=15)
@given(
    st.integers(0, 2**32 - 1),
    st.sampled_from(["normal", "laplace", "exponential"]),
    st.sampled_from([127, 255]),
    st.floats(1.0, 40.0),
)
def test_no_range_rounds_the_values_themselves_much_better(seed, kind, levels, outlier):
    random = np.random.default_rng(seed)
    values = getattr(random, kind)(size=20_000).astype(np.float32)
    values[:3] = outlier
    magnitudes = np.abs(values)

    def error(amax):
        step = amax / levels
        rounded = np.minimum(np.rint(magnitudes / step), levels) * step
        return float(np.mean((magnitudes - rounded) ** 2))

    best = min(error(amax) for amax in np.linspace(0.02, 1.0, 200) * magnitudes.max())
    assert error(collected(values).amax("mse", 99.99, levels)) <= 1.02 * best


def test_a_finer_grid_is_clipped_less():
    """With twice the levels rounding costs less, so clipping pays off less."""
    histogram = collected(np.random.default_rng(0).laplace(size=100_000))
    assert histogram.amax("mse", 99.99, 255) > 1.05 * histogram.amax("mse", 99.99, 127)


def test_zeros_do_not_count_towards_a_percentile():
    """After a ReLU most values are zero and would pull every percentile down."""
    histogram = collected(np.concatenate([np.zeros(9900), np.linspace(0.5, 1.0, 100)]))
    assert histogram.amax("percentile", 90.0, 127) == pytest.approx(0.95, abs=0.01)


@pytest.mark.parametrize("method", ["entropy", "mse"])
def test_zeros_change_nothing(method):
    values = np.random.default_rng(0).exponential(size=20_000)
    without = collected(values).amax(method, 99.99, 255)
    zeros = np.concatenate([values, np.zeros(1_000_000)])
    assert collected(zeros).amax(method, 99.99, 255) == without


@pytest.mark.parametrize("method", ["percentile", "entropy"])
def test_one_outlier_is_clipped_by_every_method_except_max(method):
    histogram = collected(np.append(np.linspace(0, 1, 100_000), 10.0))
    assert histogram.amax("max", 99.9, 127) == 10.0
    assert histogram.amax(method, 99.9, 127) < 1.4


@pytest.mark.parametrize("method", METHODS)
def test_a_tensor_of_one_value_keeps_it(method):
    assert collected(np.full(50, 0.7)).amax(method, 99.99, 127) == pytest.approx(0.7, rel=1e-3)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("wrong", [math.nan, math.inf, -math.inf])
def test_a_value_that_is_not_finite_is_never_forgotten(method, wrong):
    histogram = MagnitudeHistogram()
    for batch in ([1.0, 2.0], [1.0, wrong], [3.0, 4.0]):
        histogram.update(torch.tensor(batch))
    assert not math.isfinite(histogram.largest)
