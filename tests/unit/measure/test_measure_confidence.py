"""The expected calibration error against its definition, a loop, and data made to fit."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tmkd_deploy.measure.confidence import expected_calibration_error, top1_confidence

EDGES = [index / 15 for index in range(1, 16)]
DECISIONS = st.lists(
    st.tuples(st.floats(1e-6, 1.0) | st.sampled_from(EDGES), st.booleans()), min_size=1, max_size=80
)


def arrays(decisions):
    confidence, right = zip(*decisions, strict=True)
    return np.array(confidence), np.array(right)


def by_definition(confidence, right):
    """Guo et al. 2017, equation 3, bin by bin and image by image."""
    total = 0.0
    for index in range(1, 16):
        inside = [
            place
            for place, value in enumerate(confidence)
            if (index - 1) / 15 < value <= index / 15
        ]
        if inside:
            accuracy = sum(bool(right[place]) for place in inside) / len(inside)
            mean = sum(confidence[place] for place in inside) / len(inside)
            total += len(inside) / len(confidence) * abs(accuracy - mean)
    return total


@given(DECISIONS)
def test_the_error_is_what_the_definition_gives_and_a_share(decisions):
    confidence, right = arrays(decisions)
    error = expected_calibration_error(confidence, right)
    assert 0.0 <= error <= 1.0
    assert error == pytest.approx(by_definition(confidence, right), abs=1e-12)


@given(DECISIONS, st.randoms(use_true_random=False))
def test_the_order_of_the_images_does_not_matter(decisions, random):
    shuffled = random.sample(decisions, len(decisions))
    expected = expected_calibration_error(*arrays(decisions))
    assert expected_calibration_error(*arrays(shuffled)) == pytest.approx(expected, abs=1e-12)


@given(
    st.lists(
        st.integers(1, 12).flatmap(lambda n: st.tuples(st.integers(1, n), st.just(n))),
        min_size=1,
        max_size=20,
    )
)
def test_a_calibrated_model_has_no_error(groups):
    """Of the images decided with probability k/n, k in n are right."""
    decisions = [(k / n, place < k) for k, n in groups for place in range(n)]
    assert expected_calibration_error(*arrays(decisions)) == pytest.approx(0.0, abs=1e-12)


def test_worked_examples():
    over_confident = np.full(10, 0.9), np.arange(10) < 6
    assert expected_calibration_error(*over_confident) == pytest.approx(0.3)
    sure_and_wrong = np.ones(4), np.zeros(4, bool)
    assert expected_calibration_error(*sure_and_wrong) == 1.0
    # errors of two bins do not cancel, those within one do
    assert expected_calibration_error(np.array([0.5, 0.9]), np.array([True, False])) == (
        pytest.approx(0.7)
    )
    assert expected_calibration_error(np.array([0.5, 0.5]), np.array([True, False])) == 0.0


@settings(deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(2, 30), st.floats(0.01, 200.0))
def test_confidence_is_the_largest_softmax_probability(seed, classes, scale):
    logits = np.random.default_rng(seed).normal(0, scale, (8, classes)).astype(np.float32)
    found = top1_confidence(logits)
    # without the shift that keeps exp() finite, but with more digits
    wide = np.exp(logits.astype(np.longdouble))
    expected = (wide / wide.sum(axis=1, keepdims=True)).max(axis=1).astype(float)
    assert found == pytest.approx(expected, rel=1e-5)
    assert ((found > 0) & (found <= 1)).all()


def test_large_logits_do_not_overflow():
    assert top1_confidence(np.array([[1e30, 0.0], [-1e30, -1e30]], np.float32)).tolist() == [1, 0.5]
