"""The gate: budgets against measurements that this file makes up."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tmkd_deploy.gate.evaluate import evaluate
from tmkd_deploy.proportions import (
    images_to_decide_change,
    images_to_decide_share,
    paired_change_interval,
    share_interval,
)
from tmkd_deploy.recipe.schema import Budgets
from tmkd_deploy.records.latency import Latency, LatencyRatio, LatencyRow
from tmkd_deploy.records.measurements import EngineFile, LedgerRow, Measurements, PairedCounts
from tmkd_deploy.records.verdict import Check, Outcome

BETTER = {
    Outcome.FAILED: 0,
    Outcome.INCONCLUSIVE: 1,
    Outcome.PASSED: 2,
    Outcome.NOT_JUDGED: 2,
}
AT_LEAST = ("speedup_over_teacher", "accuracy", "macro_recall", "worst_class_recall")
CONFUSION = [[180, 20], [10, 315]]


def ledger_row(
    representation: str,
    top1: float,
    precision: str = "fp32",
    against: dict[str, tuple[int, int]] | None = None,
) -> LedgerRow:
    return LedgerRow(
        representation=representation,
        precision=precision,
        label=representation,
        top1=top1,
        top1_interval=(max(0.0, top1 - 0.02), min(1.0, top1 + 0.02)),
        macro_recall=top1,
        agreement_with_teacher=0.97,
        against={
            name: PairedCounts(gained=gained, lost=lost)
            for name, (gained, lost) in (against or {}).items()
        },
    )


def latency_row(engine: str, p50: float, p99: float, spread: float) -> LatencyRow:
    return LatencyRow(
        engine=engine,
        label=engine,
        runs=200,
        mean_ms=p50,
        p50_ms=p50,
        p90_ms=p99,
        p99_ms=p99,
        p50_interval_ms=(p50 * (1 - spread), p50 * (1 + spread)),
        p99_interval_ms=(p99 * (1 - spread), p99 * (1 + spread)),
        histogram_edges_ms=[0.0, 10.0],
        histogram_counts=[200],
    )


def measured(
    *,
    p50: float = 1.2,
    p99: float = 2.31,
    spread: float = 0.04,
    ratio: LatencyRatio | None = None,
    engine_top1: float | None = 0.94,
    teacher: tuple[int, int] = (0, 5),
    student: tuple[int, int] = (0, 3),
    **other: Any,
) -> Measurements:
    ledger = [
        ledger_row("teacher", 0.95),
        ledger_row("student", 0.945),
        ledger_row("engine", 0.5, precision="fp32"),
    ]
    if engine_top1 is not None:
        against = {"teacher": teacher, "student": student}
        ledger.append(ledger_row("engine", engine_top1, "int8", against))
    ratio = ratio or LatencyRatio(
        numerator="int8", denominator="teacher", ratio=0.25, interval=(0.2, 0.4)
    )
    values: dict[str, Any] = {
        "target": "cpu",
        "runtime": "onnxruntime",
        "class_names": ["defective", "functional"],
        "test_images": 525,
        "engines": [
            engine_file("fp32", 4_000_000),
            engine_file("int8", 1_100_000),
        ],
        "ledger": ledger,
        "confusion_by_engine": {"int8": CONFUSION},
        "latency": Latency(
            rows=[latency_row("fp32", 9.0, 9.9, 0.01), latency_row("int8", p50, p99, spread)],
            ratios=[ratio],
            protocol={"threads": 2},
            machine={"cores": 2},
            warnings=[],
        ),
        "teacher_parameters": 3_400_000,
        "student_parameters": 400_000,
    }
    return Measurements(**(values | other))


def test_a_split_that_repeats_training_images_is_never_green():
    leak = "80 test images of 400 (20.0 %) are nearly the same as a training or validation image."
    budgets = Budgets(engine_size_mb=50)
    sound, unfit = measured(), measured(unfit_split=leak)
    assert evaluate(budgets, sound, "int8").outcome is Outcome.PASSED
    verdict = evaluate(budgets, unfit, "int8")
    assert (verdict.outcome, verdict.not_judged) == (Outcome.NOT_JUDGED, leak)
    assert verdict.outcome.exit_code == 3
    # what fails, fails
    assert evaluate(Budgets(engine_size_mb=0.001), unfit, "int8").outcome is Outcome.FAILED


def engine_file(precision: str, size: int) -> EngineFile:
    return EngineFile(
        precision=precision,
        file=f"{precision}.onnx",
        bytes=size,
        sha256="0" * 64,
        int8_layers=None,
        total_layers=None,
    )


def only_check(budgets: Budgets, measurements: Measurements) -> Check:
    verdict = evaluate(budgets, measurements, "int8")
    assert len(verdict.checks) == 1
    assert verdict.outcome is verdict.checks[0].outcome
    return verdict.checks[0]


def test_without_budgets_nothing_is_judged() -> None:
    verdict = evaluate(Budgets(), measured(), "int8")
    assert (verdict.target, verdict.outcome, verdict.checks) == ("cpu", Outcome.NOT_JUDGED, [])
    assert verdict.not_judged == "The recipe sets no budgets for this target."


def test_an_engine_that_nobody_ran_is_not_judged_by_its_size_alone() -> None:
    never_run = measured(latency=None, engine_top1=None, not_measured="There is no GPU here.")
    verdict = evaluate(Budgets(engine_size_mb=5.0), never_run, "int8")
    assert verdict.outcome is Outcome.NOT_JUDGED
    assert verdict.not_judged == "Nobody has run the INT8 engine. There is no GPU here."
    assert [check.outcome for check in verdict.checks] == [Outcome.PASSED]
    too_large = evaluate(Budgets(engine_size_mb=1.0), never_run, "int8")
    assert too_large.outcome is Outcome.FAILED


@pytest.mark.parametrize(
    ("limit", "outcome"),
    [
        (2.5, Outcome.PASSED),  # the interval is 2.22 to 2.40
        (2.31, Outcome.INCONCLUSIVE),
        (2.25, Outcome.INCONCLUSIVE),
        (2.2, Outcome.FAILED),
    ],
)
def test_a_latency_metric_is_evaluated_by_its_whole_interval(
    limit: float, outcome: Outcome
) -> None:
    assert only_check(Budgets(latency_p99_ms=limit), measured()).outcome is outcome


def test_the_edges_of_the_interval() -> None:
    from_1_5_to_2_5 = measured(p99=2.0, spread=0.25)
    assert only_check(Budgets(latency_p99_ms=2.5), from_1_5_to_2_5).outcome is Outcome.PASSED
    assert only_check(Budgets(latency_p99_ms=1.5), from_1_5_to_2_5).outcome is Outcome.INCONCLUSIVE


def test_the_explanation_is_a_sentence_with_both_numbers() -> None:
    check = only_check(Budgets(latency_p99_ms=2.5), measured())
    assert check.explanation == (
        "The p99 latency is 2.31 ms (95 % interval 2.22 to 2.40 ms); the budget allows 2.5 ms."
    )


def test_the_median_and_the_p99_are_not_confused() -> None:
    budgets = Budgets(latency_p50_ms=1.3, latency_p99_ms=1.3)
    outcomes = {
        check.budget: check.outcome for check in evaluate(budgets, measured(), "int8").checks
    }
    assert outcomes == {"latency_p50_ms": Outcome.PASSED, "latency_p99_ms": Outcome.FAILED}


@pytest.mark.parametrize("direction", ["over the teacher", "under the teacher"])
@pytest.mark.parametrize(
    ("limit", "outcome"),
    [(2.0, Outcome.PASSED), (4.0, Outcome.INCONCLUSIVE), (6.0, Outcome.FAILED)],
)
def test_the_speedup_is_read_in_either_direction(
    direction: str, limit: float, outcome: Outcome
) -> None:
    ratio = (
        LatencyRatio(numerator="int8", denominator="teacher", ratio=0.25, interval=(0.2, 0.4))
        if direction == "under the teacher"
        else LatencyRatio(numerator="teacher", denominator="int8", ratio=4.0, interval=(2.5, 5.0))
    )
    check = only_check(Budgets(speedup_over_teacher=limit), measured(ratio=ratio))
    assert check.outcome is outcome
    assert check.measured == pytest.approx(4.0)
    assert check.interval == pytest.approx((2.5, 5.0))


def test_a_ratio_of_another_engine_is_not_taken() -> None:
    ratio = LatencyRatio(numerator="fp32", denominator="teacher", ratio=0.1, interval=(0.1, 0.1))
    check = only_check(Budgets(speedup_over_teacher=2.0), measured(ratio=ratio))
    assert check.outcome is Outcome.INCONCLUSIVE


@pytest.mark.parametrize(
    ("limit", "outcome"),
    [
        (0.9199, Outcome.PASSED),  # the interval is 0.92 to 0.96
        (0.93, Outcome.INCONCLUSIVE),
        (0.94, Outcome.INCONCLUSIVE),
        (0.95, Outcome.INCONCLUSIVE),
        (0.97, Outcome.FAILED),
    ],
)
def test_accuracy_is_evaluated_by_its_whole_interval(limit: float, outcome: Outcome) -> None:
    check = only_check(Budgets(accuracy=limit), measured())
    assert check.outcome is outcome
    assert check.interval == pytest.approx((0.92, 0.96))
    assert "on 525 test images" in check.explanation


def test_the_reviews_verdicts_on_144_images_are_not_decided_either_way() -> None:
    # 0.7917 failed a budget of 0.8, and 0.8264 passed it
    for right in (114, 119):
        low, high = share_interval(right, 144)
        row = ledger_row("engine", right / 144, "int8").model_copy(
            update={"top1_interval": (low, high)}
        )
        small = measured(ledger=[row], test_images=144, confusion_by_engine={})
        check = only_check(Budgets(accuracy=0.8), small)
        assert check.outcome is Outcome.INCONCLUSIVE
        assert "so 144 test images cannot decide; about" in check.explanation


def test_as_many_images_as_are_asked_for_do_decide_a_share() -> None:
    needed = images_to_decide_share(0.82, 0.8)
    assert needed is not None
    low, _ = share_interval(round(0.82 * needed), needed)
    assert low == pytest.approx(0.8, abs=0.001)
    assert images_to_decide_share(0.8, 0.8) is None
    assert images_to_decide_share(0.0, 5e-179) is None


def test_as_many_images_as_are_asked_for_do_decide_a_change() -> None:
    needed = images_to_decide_change(60, 40, 2000, 0.02)
    assert needed is not None and needed > 2000
    scale = needed / 2000
    _, high = paired_change_interval(round(60 * scale), round(40 * scale), needed)
    assert high == pytest.approx(0.02, abs=0.001)


def test_an_inconclusive_drop_says_how_many_images_would_decide() -> None:
    check = only_check(Budgets(accuracy_drop_points=2.0), measured(teacher=(10, 18)))
    assert check.outcome is Outcome.INCONCLUSIVE
    assert check.explanation == (
        "The loss of top-1 accuracy against the teacher is 1.52 points (95 % interval: a gain of "
        "0.48 to a loss of 3.52) on 525 test images; the budget allows 2 points. The limit lies "
        "inside the interval, so 525 test images cannot decide; about 9,300 would."
    )


def test_drops_are_points_against_the_right_row_and_paired() -> None:
    check = only_check(Budgets(accuracy_drop_points=1.0), measured())
    assert check.measured == pytest.approx(100 * 5 / 525)
    low, high = paired_change_interval(5, 0, 525)
    assert check.interval == pytest.approx((100 * low, 100 * high))
    assert "the budget allows 1 point. " in check.explanation
    assert check.outcome is Outcome.INCONCLUSIVE
    assert only_check(Budgets(accuracy_drop_points=2.5), measured()).outcome is Outcome.PASSED
    much = measured(teacher=(0, 30))
    assert only_check(Budgets(accuracy_drop_points=2.5), much).outcome is Outcome.FAILED
    student = only_check(Budgets(quantization_drop_points=2.0), measured())
    assert student.measured == pytest.approx(100 * 3 / 525)
    assert student.outcome is Outcome.PASSED


def test_a_drop_whose_pairs_were_not_counted_is_inconclusive() -> None:
    row = ledger_row("engine", 0.94, "int8")
    check = only_check(Budgets(accuracy_drop_points=50.0), measured(ledger=[row]))
    assert (check.outcome, check.measured) == (Outcome.INCONCLUSIVE, None)


def test_an_engine_better_than_its_teacher_has_gained() -> None:
    check = only_check(Budgets(accuracy_drop_points=0.0), measured(teacher=(12, 0)))
    assert check.outcome is Outcome.PASSED
    assert check.explanation.startswith(
        "The gain in top-1 accuracy over the teacher is 2.29 points (95 % interval: a gain of "
    )


# recall and precision


@pytest.mark.parametrize(
    ("budgets", "measured_value", "outcome"),
    [
        ({"recall": {"defective": 0.8}}, 0.9, Outcome.PASSED),  # 180 of 200: 0.85 to 0.93
        ({"recall": {"defective": 0.9}}, 0.9, Outcome.INCONCLUSIVE),
        ({"recall": {"defective": 0.95}}, 0.9, Outcome.FAILED),
        ({"precision": {"defective": 0.9}}, 180 / 190, Outcome.PASSED),
        ({"precision": {"defective": 0.99}}, 180 / 190, Outcome.FAILED),
        ({"worst_class_recall": 0.85}, 0.9, Outcome.PASSED),
        ({"worst_class_recall": 0.96}, 0.9, Outcome.FAILED),
        ({"macro_recall": 0.9}, (0.9 + 315 / 325) / 2, Outcome.PASSED),
        ({"macro_recall": 0.94}, (0.9 + 315 / 325) / 2, Outcome.INCONCLUSIVE),
        ({"macro_recall": 0.97}, (0.9 + 315 / 325) / 2, Outcome.FAILED),
    ],
)
def test_recall_and_precision_come_from_the_confusion_matrix(
    budgets: dict[str, Any], measured_value: float, outcome: Outcome
) -> None:
    check = only_check(Budgets.model_validate(budgets), measured())
    assert check.measured == pytest.approx(measured_value)
    assert check.outcome is outcome


def test_a_budget_on_a_class_is_named_after_it_and_counts_its_images() -> None:
    check = only_check(Budgets(recall={"defective": 0.91}), measured())
    assert check.budget == "recall.defective"
    assert "The recall of defective is 0.90" in check.explanation
    assert "so 200 test images of that class cannot decide" in check.explanation


def test_a_class_that_is_never_predicted_has_no_precision() -> None:
    never = measured(confusion_by_engine={"int8": [[0, 200], [0, 325]]})
    check = only_check(Budgets(precision={"defective": 0.1}), never)
    assert check.outcome is Outcome.INCONCLUSIVE
    assert "No test image was taken for this class." in check.explanation


def test_the_confusion_matrix_of_an_engine_that_nobody_ran_counts_for_nothing() -> None:
    # it comes from evaluating the ONNX file
    never_run = measured(latency=None, engine_top1=None, not_measured="There is no GPU here.")
    check = only_check(Budgets(recall={"defective": 0.1}), never_run)
    assert (check.outcome, check.measured) == (Outcome.INCONCLUSIVE, None)


def test_the_size_is_that_of_the_evaluated_engine() -> None:
    check = only_check(Budgets(engine_size_mb=1.1), measured())
    assert (check.measured, check.outcome) == (1.1, Outcome.PASSED)
    assert only_check(Budgets(engine_size_mb=1.0), measured()).outcome is Outcome.FAILED


def test_what_was_not_measured_is_inconclusive_and_says_why() -> None:
    reason = "No NVIDIA GPU is present here."
    blind = measured(latency=None, engine_top1=None, not_measured=reason)
    budgets = Budgets(
        latency_p50_ms=1.0,
        latency_p99_ms=1.0,
        speedup_over_teacher=1.0,
        accuracy=0.5,
        accuracy_drop_points=1.0,
        quantization_drop_points=1.0,
    )
    verdict = evaluate(budgets, blind, "int8")
    assert verdict.outcome is Outcome.INCONCLUSIVE
    assert len(verdict.checks) == 6
    for check in verdict.checks:
        assert check.outcome is Outcome.INCONCLUSIVE
        assert check.measured is None
        assert check.explanation.endswith(reason)
    size = Budgets(engine_size_mb=1.0, accuracy=0.5)
    assert evaluate(size, blind, "int8").outcome is Outcome.FAILED


def test_a_number_close_to_its_limit_is_not_rounded_onto_it() -> None:
    check = only_check(Budgets(latency_p99_ms=2.5), measured(p99=2.5001, spread=0.0))
    assert check.outcome is Outcome.FAILED
    assert "2.5001 ms" in check.explanation


positive = st.floats(0.001, 1000.0)
all_budgets = st.builds(
    Budgets,
    latency_p50_ms=st.none() | positive,
    latency_p99_ms=st.none() | positive,
    speedup_over_teacher=st.none() | positive,
    accuracy=st.none() | st.floats(0.0, 1.0),
    macro_recall=st.none() | st.floats(0.0, 1.0),
    worst_class_recall=st.none() | st.floats(0.0, 1.0),
    accuracy_drop_points=st.none() | st.floats(0.0, 100.0),
    quantization_drop_points=st.none() | st.floats(0.0, 100.0),
    engine_size_mb=st.none() | positive,
)
all_measurements = st.builds(
    lambda times, **more: measured(p50=min(times), p99=max(times), **more),
    st.tuples(positive, positive),
    spread=st.floats(0.0, 0.9),
    engine_top1=st.none() | st.floats(0.0, 1.0),
)


@settings(deadline=None)
@given(budgets=all_budgets, measurements=all_measurements, data=st.data())
def test_loosening_a_budget_never_worsens_the_outcome(
    budgets: Budgets, measurements: Measurements, data: st.DataObject
) -> None:
    limits = budgets.limits
    loosened = {
        name: limit * data.draw(st.floats(0.1, 1.0) if name in AT_LEAST else st.floats(1.0, 10.0))
        for name, limit in limits.items()
    }
    before = evaluate(budgets, measurements, "int8")
    after = evaluate(Budgets(**loosened), measurements, "int8")
    assert BETTER[after.outcome] >= BETTER[before.outcome]
    for tight, loose in zip(before.checks, after.checks, strict=True):
        assert BETTER[loose.outcome] >= BETTER[tight.outcome]


@settings(deadline=None)
@given(budgets=all_budgets, measurements=all_measurements)
def test_every_budget_has_one_check_and_the_worst_decides(
    budgets: Budgets, measurements: Measurements
) -> None:
    verdict = evaluate(budgets, measurements, "int8")
    limits = budgets.limits
    assert {check.budget: check.limit for check in verdict.checks} == limits
    worst = min((BETTER[check.outcome] for check in verdict.checks), default=2)
    assert BETTER[verdict.outcome] == worst
    for check in verdict.checks:
        assert check.explanation.endswith(".")
        assert check.measured is not None or check.outcome is Outcome.INCONCLUSIVE


@settings(deadline=None)
@given(budgets=all_budgets, measurements=all_measurements)
def test_a_passed_metric_meets_its_limit_and_a_failed_one_breaks_it(
    budgets: Budgets, measurements: Measurements
) -> None:
    for check in evaluate(budgets, measurements, "int8").checks:
        if check.measured is not None and check.outcome is not Outcome.INCONCLUSIVE:
            sign = -1 if check.budget in AT_LEAST else 1
            kept = sign * check.measured <= sign * check.limit
            assert kept == (check.outcome is Outcome.PASSED)
