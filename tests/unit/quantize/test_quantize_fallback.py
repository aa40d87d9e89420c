"""The search for how many layers have to be left out, as a function of what engines show."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tmkd_deploy.quantize.mixed_precision import Tried, fewest_estimated, solve
from tmkd_deploy.records.quantization import Ending

LAYERS = 12


def search(needed, most, estimated=1, attempts=50, certain=True):
    """Search where `needed` layers make an engine accurate and more than `most` slow."""

    def attempt(count):
        return Tried(inaccurate=count < needed, slow=count > most, certain=certain)

    return solve(LAYERS, estimated, attempts, attempt)


numbers = st.integers(-1, LAYERS + 1)


@given(numbers, numbers, st.integers(1, LAYERS), st.integers(1, 20))
def test_nothing_out_of_budget_is_called_within(needed, most, estimated, attempts):
    found = search(needed, most, estimated, attempts)
    last = found.counts[-1]
    possible = max(needed, 0) <= min(most, LAYERS)
    assert (found.ending is Ending.WITHIN) == (needed <= last <= most)
    assert found.ending is not Ending.NONE or not possible
    assert found.counts[0] == 0 and len(found.counts) <= attempts
    assert len(set(found.counts)) == len(found.counts)
    assert all(0 <= count <= LAYERS for count in found.counts)


@given(numbers, numbers, st.integers(1, LAYERS))
def test_with_tries_enough_what_exists_is_found(needed, most, estimated):
    possible = max(needed, 0) <= min(most, LAYERS)
    ending = search(needed, most, estimated).ending
    assert ending is (Ending.WITHIN if possible else Ending.NONE)


@given(st.integers(0, LAYERS))
def test_with_a_right_estimate_the_fewest_are_left_out(needed):
    found = search(needed, LAYERS, max(needed, 1), attempts=2)
    assert found.ending is Ending.WITHIN and found.counts[-1] == needed


def test_the_number_doubles_while_inaccurate_and_is_halved_once_slow():
    assert search(7, LAYERS, estimated=2).counts == [0, 2, 4, 8]
    assert search(5, 6, estimated=2).counts == [0, 2, 4, 8, 6]
    assert search(LAYERS + 1, LAYERS, estimated=7).counts == [0, 7, LAYERS]


def test_what_is_both_slow_and_inaccurate_ends_the_search():
    found = search(5, 2, estimated=4)
    assert (found.ending, found.counts) == (Ending.NONE, [0, 4])


def test_out_of_tries_is_not_none():
    assert search(9, LAYERS, attempts=2).ending is Ending.OUT_OF_TRIES


def test_what_could_not_be_told_is_said():
    found = search(0, LAYERS, certain=False)
    assert (found.ending, found.counts) == (Ending.UNCERTAIN, [0])


def test_a_student_without_layers_left_to_leave_out():
    found = solve(0, fewest_estimated([3.0], 1.0), 5, lambda _: Tried(True, False))
    assert (found.ending, found.counts) == (Ending.NONE, [0])


@pytest.mark.parametrize(
    ("lost", "allowed", "count"),
    [
        ([9.0, 4.0, 0.5, 0.1], 1.0, 2),
        ([9.0, 4.0, 3.0, 3.0], 1.0, 2),
        ([0.0, 0.0, 0.0], 1.0, 1),
        ([9.0, 0.5, 2.0, 0.1], 1.0, 1),
        ([9.0, 4.0, -2.0], -1.0, 2),
    ],
)
def test_the_estimate_is_the_fewest_that_keep_the_limit_or_lose_least(lost, allowed, count):
    assert fewest_estimated(lost, allowed) == count
