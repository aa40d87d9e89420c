"""Which engine ships, and the reason that is given for it."""

import pytest

from tmkd_deploy.gate.choose import choose, choose_and_judge
from tmkd_deploy.gate.verdict import Outcome
from tmkd_deploy.measure.results import (
    EngineFile,
    Latency,
    LatencyRow,
    LedgerRow,
    Measurements,
)
from tmkd_deploy.recipe.schema import Budgets

CONFUSIONS = {"int8": [[48, 2], [3, 47]], "fp32": [[49, 1], [2, 48]], "fp16": [[40, 10], [9, 41]]}


def ledger_row(representation, precision, top1):
    return LedgerRow(
        representation=representation,
        precision=precision,
        label=representation,
        top1=top1,
        top1_interval=(top1 - 0.02, min(1.0, top1 + 0.02)),
        macro_recall=top1,
        agreement_with_teacher=0.9,
    )


def latency_row(engine, p50):
    return LatencyRow(
        engine=engine,
        label=engine,
        runs=200,
        mean_ms=p50,
        p50_ms=p50,
        p90_ms=p50,
        p99_ms=p50,
        p50_interval_ms=(0.99 * p50, 1.01 * p50),
        p99_interval_ms=(0.99 * p50, 1.01 * p50),
        histogram_edges_ms=[0.0, 1.0],
        histogram_counts=[200],
    )


def measured(p50, top1):
    """Measurements of engines in the order of `top1`; an empty `p50` means that none was timed."""
    engines = [
        EngineFile(
            precision=precision,
            file=f"{precision}.onnx",
            bytes=1000,
            sha256="0" * 64,
            int8_layers=None,
            total_layers=None,
        )
        for precision in top1
    ]
    latency = Latency(
        rows=[latency_row(name, value) for name, value in p50.items()],
        ratios=[],
        protocol={},
        machine={},
        warnings=[],
    )
    timed = [ledger_row("engine", name, value) for name, value in top1.items() if p50]
    first = next(iter(top1))
    return Measurements(
        target="cpu",
        runtime="onnxruntime",
        class_names=["a", "b"],
        test_images=100,
        engines=engines,
        shipped=first,
        shipped_reason="The gate has not chosen yet.",
        ledger=[ledger_row("teacher", "fp32", 0.97), ledger_row("student", "fp32", 0.96), *timed],
        confusion=CONFUSIONS[first],
        confusion_by_engine={name: CONFUSIONS[name] for name in top1},
        latency=latency if p50 else None,
        not_measured=None if p50 else "No device was attached.",
        teacher_parameters=10,
        student_parameters=5,
    )


ACCURATE = {"int8": 0.95, "fp32": 0.96}
BUDGETS = Budgets(accuracy=0.94, latency_p50_ms=3.0)


def test_the_fastest_engine_ships():
    chosen = choose(BUDGETS, measured({"teacher": 8.0, "int8": 1.0, "fp32": 2.0}, ACCURATE))
    assert chosen.shipped == "int8"
    assert chosen.confusion == CONFUSIONS["int8"]
    assert "int8 engine is the fastest" in chosen.shipped_reason
    assert "1.000 ms" in chosen.shipped_reason
    assert "fp32 engine takes 2.00 times as long" in chosen.shipped_reason


def test_int8_that_is_slower_does_not_ship_and_the_reason_says_so():
    judged = choose_and_judge(BUDGETS, measured({"int8": 2.5, "fp32": 2.0}, ACCURATE))
    chosen = judged.measurements
    assert chosen.shipped == "fp32"
    assert chosen.confusion == CONFUSIONS["fp32"]
    assert "int8 engine takes 1.25 times as long" in chosen.shipped_reason
    assert judged.verdict.outcome is Outcome.PASSED


def test_speed_does_not_make_up_for_accuracy():
    figures = measured({"int8": 1.0, "fp32": 2.0}, {"int8": 0.90, "fp32": 0.96})
    judged = choose_and_judge(BUDGETS, figures)
    assert judged.measurements.shipped == "fp32"
    assert "int8 engine breaks the accuracy budgets" in judged.measurements.shipped_reason
    assert judged.verdict.outcome is Outcome.PASSED


@pytest.mark.parametrize(
    "budgets",
    [
        Budgets(accuracy=0.99),
        Budgets(accuracy_drop_points=0.5),
        Budgets(accuracy=0.99, latency_p50_ms=10.0),
    ],
)
def test_where_none_is_accurate_the_most_accurate_stands_and_fails(budgets):
    figures = measured(
        {"int8": 1.0, "fp32": 2.0, "fp16": 1.5}, {"int8": 0.93, "fp32": 0.96, "fp16": 0.90}
    )
    judged = choose_and_judge(budgets, figures)
    assert judged.measurements.shipped == "fp32"
    assert judged.measurements.shipped_reason.startswith("No engine keeps the accuracy budgets")
    assert judged.verdict.outcome is Outcome.FAILED


def test_an_accurate_engine_that_is_too_slow_fails_by_its_latency():
    judged = choose_and_judge(BUDGETS, measured({"int8": 5.0, "fp32": 6.0}, ACCURATE))
    assert judged.measurements.shipped == "int8"
    failed = [check.budget for check in judged.verdict.checks if check.outcome is Outcome.FAILED]
    assert failed == ["latency_p50_ms"]


def test_without_budgets_the_fastest_ships():
    figures = measured({"int8": 2.5, "fp32": 2.0}, {"int8": 0.95, "fp32": 0.10})
    judged = choose_and_judge(Budgets(), figures)
    assert judged.measurements.shipped == "fp32"
    assert judged.verdict.outcome is Outcome.PASSED


def test_unmeasured_engines_ship_in_order_of_preference_and_are_inconclusive():
    judged = choose_and_judge(BUDGETS, measured({}, ACCURATE))
    assert judged.measurements.shipped == "int8"
    assert "none was measured" in judged.measurements.shipped_reason
    assert judged.verdict.outcome is Outcome.INCONCLUSIVE
    assert all(check.measured is None for check in judged.verdict.checks)
    assert "No device was attached." in judged.verdict.checks[0].explanation


def test_choosing_changes_nothing_but_the_choice():
    before = measured({"int8": 2.5, "fp32": 2.0}, ACCURATE)
    after = choose(BUDGETS, before)
    changed = {
        name for name in type(before).model_fields if getattr(before, name) != getattr(after, name)
    }
    assert changed == {"shipped", "shipped_reason", "confusion"}
