"""The search for how many layers to exclude, as a function of the measured engines."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tmkd_deploy.quantize.mixed_precision import TrialOutcome, fewest_estimated, solve
from tmkd_deploy.records.quantization import SearchOutcome

LAYERS = 12


def search(needed, most, estimated=1, max_trials=50, conclusive=True):
    """Search where engines are accurate from `needed` exclusions on, and slow above `most`."""

    def trial(count):
        return TrialOutcome(inaccurate=count < needed, slow=count > most, conclusive=conclusive)

    return solve(LAYERS, estimated, max_trials, trial)


numbers = st.integers(-1, LAYERS + 1)


@given(numbers, numbers, st.integers(1, LAYERS), st.integers(1, 20))
def test_nothing_out_of_budget_is_called_within(needed, most, estimated, max_trials):
    found = search(needed, most, estimated, max_trials)
    last = found.counts[-1]
    possible = max(needed, 0) <= min(most, LAYERS)
    assert (found.outcome is SearchOutcome.WITHIN) == (needed <= last <= most)
    assert found.outcome is not SearchOutcome.NONE or not possible
    assert found.counts[0] == 0 and len(found.counts) <= max_trials
    assert len(set(found.counts)) == len(found.counts)
    assert all(0 <= count <= LAYERS for count in found.counts)


@given(numbers, numbers, st.integers(1, LAYERS))
def test_with_enough_trials_an_existing_solution_is_found(needed, most, estimated):
    possible = max(needed, 0) <= min(most, LAYERS)
    outcome = search(needed, most, estimated).outcome
    assert outcome is (SearchOutcome.WITHIN if possible else SearchOutcome.NONE)


@given(st.integers(0, LAYERS))
def test_a_correct_estimate_excludes_the_fewest_layers(needed):
    found = search(needed, LAYERS, max(needed, 1), max_trials=2)
    assert found.outcome is SearchOutcome.WITHIN and found.counts[-1] == needed


def test_the_number_doubles_while_inaccurate_and_bisects_once_slow():
    assert search(7, LAYERS, estimated=2).counts == [0, 2, 4, 8]
    assert search(5, 6, estimated=2).counts == [0, 2, 4, 8, 6]
    assert search(LAYERS + 1, LAYERS, estimated=7).counts == [0, 7, LAYERS]


def test_an_engine_both_slow_and_inaccurate_ends_the_search():
    found = search(5, 2, estimated=4)
    assert (found.outcome, found.counts) == (SearchOutcome.NONE, [0, 4])


def test_out_of_trials_is_not_none():
    assert search(9, LAYERS, max_trials=2).outcome is SearchOutcome.OUT_OF_TRIALS


def test_a_student_that_misses_the_budgets_itself_gets_one_trial():
    def short_of(needed):
        def trial(count):
            return TrialOutcome(inaccurate=count < needed, slow=False)

        return solve(LAYERS, 2, 50, trial, student_accurate=False)

    found = short_of(3)
    assert (found.outcome, found.counts) == (SearchOutcome.STUDENT_INACCURATE, [0])
    gained = short_of(0)  # fine-tuning may gain what the student lacks
    assert (gained.outcome, gained.counts) == (SearchOutcome.WITHIN, [0])


def test_an_inconclusive_measurement_is_reported():
    found = search(0, LAYERS, conclusive=False)
    assert (found.outcome, found.counts) == (SearchOutcome.UNCERTAIN, [0])


def test_a_student_without_layers_to_exclude():
    found = solve(0, fewest_estimated([3.0], 1.0), 5, lambda _: TrialOutcome(True, False))
    assert (found.outcome, found.counts) == (SearchOutcome.NONE, [0])


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
def test_the_estimate_is_the_fewest_within_the_limit_or_the_best(lost, allowed, count):
    assert fewest_estimated(lost, allowed) == count
