"""The gate: budgets against measurements that this file makes up."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tmkd_deploy.gate.evaluate import evaluate
from tmkd_deploy.recipe.schema import Budgets
from tmkd_deploy.records.latency import Latency, LatencyRatio, LatencyRow
from tmkd_deploy.records.measurements import EngineFile, LedgerRow, Measurements
from tmkd_deploy.records.verdict import Check, Outcome

BETTER = {Outcome.FAILED: 0, Outcome.INCONCLUSIVE: 1, Outcome.PASSED: 2}
AT_LEAST = ("speedup_over_teacher", "accuracy")


def ledger_row(representation: str, top1: float, precision: str = "fp32") -> LedgerRow:
    return LedgerRow(
        representation=representation,
        precision=precision,
        label=representation,
        top1=top1,
        top1_interval=(max(0.0, top1 - 0.02), min(1.0, top1 + 0.02)),
        macro_recall=top1,
        agreement_with_teacher=0.97,
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
    **other: Any,
) -> Measurements:
    ledger = [
        ledger_row("teacher", 0.95),
        ledger_row("student", 0.945),
        ledger_row("engine", 0.5, precision="fp32"),
    ]
    if engine_top1 is not None:
        ledger.append(ledger_row("engine", engine_top1, precision="int8"))
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
        "confusion_by_engine": {},
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


def test_no_budget_requires_nothing() -> None:
    verdict = evaluate(Budgets(), measured(), "int8")
    assert (verdict.target, verdict.outcome, verdict.checks) == ("cpu", Outcome.PASSED, [])


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


def test_accuracy_is_that_of_the_evaluated_engine_and_names_the_test_set() -> None:
    check = only_check(Budgets(accuracy=0.94), measured())
    assert check.outcome is Outcome.PASSED
    assert check.interval is None
    assert "on the fixed test set of 525 images" in check.explanation
    assert only_check(Budgets(accuracy=0.9401), measured()).outcome is Outcome.FAILED


def test_drops_are_points_against_the_right_row() -> None:
    check = only_check(Budgets(accuracy_drop_points=1.0), measured())
    assert check.outcome is Outcome.PASSED  # 95 % to 94 % is one point in spite of binary fractions
    assert check.measured == pytest.approx(1.0)
    assert check.explanation.endswith("the budget allows 1 point.")
    assert only_check(Budgets(accuracy_drop_points=0.99), measured()).outcome is Outcome.FAILED
    student = only_check(Budgets(quantization_drop_points=0.5), measured())
    assert student.measured == pytest.approx(0.5)
    assert student.outcome is Outcome.PASSED


def test_an_engine_better_than_its_teacher_has_lost_nothing() -> None:
    check = only_check(Budgets(accuracy_drop_points=0.0), measured(engine_top1=0.96))
    assert check.outcome is Outcome.PASSED


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
    limits = {name: limit for name, limit in budgets.model_dump().items() if limit is not None}
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
    limits = {name: limit for name, limit in budgets.model_dump().items() if limit is not None}
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
