"""Which engine ships, and the reason that is given for it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tmkd_deploy.errors import RequestError
from tmkd_deploy.gate.evaluate import evaluate
from tmkd_deploy.gate.gate import gate, select_engine
from tmkd_deploy.gate.trial_outcome import allowed_loss, outcome_of, search_summary, trial_of
from tmkd_deploy.proportions import share_interval
from tmkd_deploy.quantize.mixed_precision import SearchResult
from tmkd_deploy.recipe.schema import Budgets
from tmkd_deploy.records.latency import Latency, LatencyRatio, LatencyRow
from tmkd_deploy.records.measurements import EngineFile, LedgerRow, Measurements, PairedCounts
from tmkd_deploy.records.quantization import SearchOutcome, Trial
from tmkd_deploy.records.verdict import Outcome

CONFUSIONS = {
    "int8": [[4800, 200], [300, 4700]],
    "fp32": [[4900, 100], [200, 4800]],
    "fp16": [[4000, 1000], [900, 4100]],
}


SIZES = {"int8": 1000, "fp16": 2000, "fp32": 4000}


def named(engine):
    """The precision and the runtime in an engine's name."""
    precision, _, runtime = engine.partition("-")
    return {"precision": precision, "runtime": runtime or None}


def ledger_row(representation, engine, top1):
    return LedgerRow(
        representation=representation,
        **named(engine),
        label=representation,
        top1=top1,
        top1_interval=share_interval(round(10_000 * top1), 10_000),
        macro_recall=top1,
        agreement_with_teacher=0.9,
        against={"teacher": PairedCounts(gained=0, lost=round(10_000 * (0.97 - top1)))},
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


def measured(p50, top1, ratios=(), int8_layers=(None, None)):
    """Measurements of engines in the order of `top1`; an empty `p50` means that none was timed.

    `ratios` are (numerator, denominator, ratio, interval).
    """
    engines = [
        EngineFile(
            **named(engine),
            file=f"{engine}.onnx",
            bytes=SIZES[named(engine)["precision"]],
            sha256="0" * 64,
            int8_layers=int8_layers[0] if engine == "int8" else None,
            total_layers=int8_layers[1] if engine == "int8" else None,
        )
        for engine in top1
    ]
    latency = Latency(
        rows=[latency_row(name, value) for name, value in p50.items()],
        ratios=[
            LatencyRatio(numerator=above, denominator=below, ratio=ratio, interval=interval)
            for above, below, ratio, interval in ratios
        ],
        protocol={},
        machine={},
        warnings=[],
    )
    timed = [ledger_row("engine", name, value) for name, value in top1.items() if p50]
    return Measurements(
        target="cpu",
        runtime="onnxruntime",
        class_names=["a", "b"],
        test_images=10_000,
        engines=engines,
        ledger=[ledger_row("teacher", "fp32", 0.97), ledger_row("student", "fp32", 0.96), *timed],
        confusion_by_engine={name: CONFUSIONS[named(name)["precision"]] for name in top1},
        latency=latency if p50 else None,
        not_measured=None if p50 else "No device was attached.",
        teacher_parameters=10,
        student_parameters=5,
    )


ACCURATE = {"int8": 0.95, "fp32": 0.96}
ALL = ("int8", "fp16", "fp32")
RACE = ("int8", "fp32", "int8-openvino", "fp32-openvino")
BUDGETS = Budgets(accuracy=0.94, latency_p50_ms=3.0)


def test_the_fastest_engine_ships():
    record = gate(BUDGETS, measured({"teacher": 8.0, "int8": 1.0, "fp32": 2.0}, ACCURATE), ALL)
    assert record.shipped == "int8"
    assert record.confusion == CONFUSIONS["int8"]
    assert "INT8 engine is the fastest" in record.reason
    assert "1.000 ms" in record.reason
    assert "FP32 engine takes 2.00 times as long" in record.reason


def test_int8_that_is_slower_does_not_ship_and_the_reason_says_so():
    record = gate(BUDGETS, measured({"int8": 2.5, "fp32": 2.0}, ACCURATE), ALL)
    assert record.shipped == "fp32"
    assert record.confusion == CONFUSIONS["fp32"]
    assert "INT8 engine takes 1.25 times as long" in record.reason
    assert record.verdict.outcome is Outcome.PASSED


def test_speed_does_not_make_up_for_accuracy():
    measurements = measured({"int8": 1.0, "fp32": 2.0}, {"int8": 0.90, "fp32": 0.96})
    record = gate(BUDGETS, measurements, ALL)
    assert record.shipped == "fp32"
    assert "INT8 engine breaks the accuracy budgets" in record.reason
    assert record.verdict.outcome is Outcome.PASSED


@pytest.mark.parametrize(
    "budgets",
    [
        Budgets(accuracy=0.99),
        Budgets(accuracy_drop_points=0.5),
        Budgets(accuracy=0.99, latency_p50_ms=10.0),
    ],
)
def test_where_none_is_accurate_the_most_accurate_stands_and_fails(budgets):
    measurements = measured(
        {"int8": 1.0, "fp32": 2.0, "fp16": 1.5}, {"int8": 0.93, "fp32": 0.96, "fp16": 0.90}
    )
    record = gate(budgets, measurements, ALL)
    assert (record.would_ship, record.shipped) == ("fp32", None)
    assert record.reason.startswith("No engine meets the accuracy budgets")
    assert record.verdict.outcome is Outcome.FAILED


def test_an_accurate_engine_that_is_too_slow_fails_by_its_latency():
    record = gate(BUDGETS, measured({"int8": 5.0, "fp32": 6.0}, ACCURATE), ALL)
    assert (record.would_ship, record.shipped) == ("int8", None)
    failed = [check.budget for check in record.verdict.checks if check.outcome is Outcome.FAILED]
    assert failed == ["latency_p50_ms"]


def test_without_budgets_the_fastest_ships():
    measurements = measured({"int8": 2.5, "fp32": 2.0}, {"int8": 0.95, "fp32": 0.10})
    record = gate(Budgets(), measurements, ALL)
    assert record.shipped == "fp32"
    assert record.verdict.outcome is Outcome.NOT_JUDGED
    assert record.reason.startswith("The FP32 engine is the fastest that may ship, with")


def test_unmeasured_engines_ship_in_order_of_preference_and_are_inconclusive():
    record = gate(BUDGETS, measured({}, ACCURATE), ALL)
    assert record.shipped == "int8"
    assert "No engine was measured" in record.reason
    assert record.verdict.outcome is Outcome.INCONCLUSIVE
    assert all(check.measured is None for check in record.verdict.checks)
    assert "No device was attached." in record.verdict.checks[0].explanation


def test_the_gate_records_the_measurements_unchanged():
    before = measured({"int8": 2.5, "fp32": 2.0}, ACCURATE)
    assert gate(BUDGETS, before, ALL).measurements == before


def test_an_engine_that_surely_keeps_all_budgets_comes_before_a_faster_one_that_may_not():
    measurements = measured({"int8": 1.0, "fp32": 2.0}, {"int8": 0.942, "fp32": 0.96})
    record = gate(BUDGETS, measurements, ALL)
    assert (record.shipped, record.verdict.outcome) == ("fp32", Outcome.PASSED)
    assert "The INT8 engine may break accuracy." in record.reason


def test_where_accuracy_is_open_the_fastest_is_selected_and_the_reason_says_so():
    measurements = measured({"int8": 1.0, "fp32": 2.0}, {"int8": 0.938, "fp32": 0.942})
    record = gate(BUDGETS, measurements, ALL)
    assert (record.shipped, record.verdict.outcome) == ("int8", Outcome.INCONCLUSIVE)
    assert "the fastest that breaks no budget beyond doubt" in record.reason


def test_a_slower_engine_within_every_budget_comes_before_one_that_breaks_one():
    measurements = measured({"int8": 2.5, "fp32": 2.0}, ACCURATE)
    measurements = measurements.model_copy(
        update={
            "engines": [
                each.model_copy(update={"bytes": 9_000_000 if each.precision == "fp32" else 1000})
                for each in measurements.engines
            ]
        }
    )
    record = gate(Budgets(accuracy=0.94, engine_size_mb=1.0), measurements, ALL)
    assert (record.shipped, record.verdict.outcome) == ("int8", Outcome.PASSED)
    assert "The FP32 engine breaks engine_size_mb." in record.reason


def test_a_budget_of_a_class_that_there_is_not_is_refused():
    with pytest.raises(RequestError, match="The data have no class 'aa'") as error:
        gate(Budgets(recall={"aa": 0.9}), measured({"int8": 2.5}, {"int8": 0.95}), ALL)
    assert error.value.where == "targets.cpu.budgets.recall"
    assert error.value.advice == 'Did you mean "a"?'


def reason(p50, top1, **more):
    return select_engine(BUDGETS, measured(p50, top1, **more), ALL).reason


def test_int8_that_is_slower_beyond_the_interval_loses_and_the_reason_says_why():
    ratios = [("fp32", "int8", 0.8, (0.78, 0.82))]
    times = {"int8": 2.5, "fp32": 2.0}
    text = reason(times, ACCURATE, ratios=ratios, int8_layers=(35, 54))
    assert "The INT8 engine takes 1.25 (1.22 to 1.28) times as long." in text
    assert (
        "INT8 loses on speed: its median latency is 1.25 (1.22 to 1.28) times that of FP32" in text
    )
    assert "Only 35 of its 54 layers run in INT8" in text
    assert "`tmkd-deploy explain RUN --target cpu`" in text
    text = reason(times, ACCURATE, ratios=ratios, int8_layers=(54, 54))
    assert "All its 54 layers run in INT8" in text


def test_int8_that_is_slower_within_the_interval_is_not_said_to_lose():
    ratios = [("fp32", "int8", 0.99, (0.95, 1.03))]
    text = reason({"int8": 2.02, "fp32": 2.0}, ACCURATE, ratios=ratios)
    assert "INT8 shows no speed-up here" in text and "loses" not in text


def test_int8_that_breaks_the_accuracy_budgets_loses_by_its_accuracy():
    text = reason({"int8": 1.0, "fp32": 2.0}, {"int8": 0.90, "fp32": 0.96})
    assert "INT8 loses on accuracy" in text and "explain RUN --target cpu" in text


def test_int8_that_wins_is_not_said_to_lose():
    assert "loses" not in reason({"int8": 1.0, "fp32": 2.0}, ACCURATE)
    # slower than an engine that breaks the accuracy budgets is no loss
    assert "loses" not in reason({"int8": 2.5, "fp32": 2.0}, {"int8": 0.95, "fp32": 0.90})


def test_a_precision_that_may_not_ship_is_still_compared():
    measurements = measured({"int8": 2.5, "fp32": 2.0}, ACCURATE)
    selected = select_engine(BUDGETS, measurements, ["int8"])
    assert selected.engine == "int8"
    text = selected.reason
    assert "FP32 engine takes 0.80 times as long; it was measured for comparison only" in text
    assert "INT8 loses on speed" in text


def test_the_recipes_order_decides_where_nothing_was_measured():
    assert select_engine(BUDGETS, measured({}, ACCURATE), ["fp32", "int8"]).engine == "fp32"


@given(
    st.sampled_from([ALL, RACE]),
    st.lists(st.floats(0.1, 10.0), min_size=4, max_size=4),
    st.lists(st.sampled_from([0.90, 0.95, 0.96]), min_size=4, max_size=4),
)
def test_no_engine_ships_that_is_slower_than_another_accurate_one(engines, times, shares):
    p50, top1 = dict(zip(engines, times)), dict(zip(engines, shares))  # noqa: B905
    selected = select_engine(BUDGETS, measured(p50, top1), engines).engine
    accurate = [name for name, share in top1.items() if share >= 0.94]
    if accurate:
        assert selected in accurate
        assert all(p50[selected] <= p50[name] for name in accurate)


@given(
    st.lists(st.floats(0.1, 10.0), min_size=4, max_size=4),
    st.lists(st.sampled_from([0.90, 0.94, 0.95, 0.96]), min_size=4, max_size=4),
)
def test_no_engine_of_a_race_ships_that_has_a_worse_verdict_than_another(times, shares):
    measurements = measured(dict(zip(RACE, times)), dict(zip(RACE, shares)))  # noqa: B905
    ranks = [Outcome.PASSED, Outcome.INCONCLUSIVE, Outcome.FAILED]
    outcomes = {each: ranks.index(evaluate(BUDGETS, measurements, each).outcome) for each in RACE}
    selected = select_engine(BUDGETS, measurements, RACE).engine
    assert outcomes[selected] == min(outcomes.values())


@given(
    st.lists(st.floats(0.1, 10.0), min_size=4, max_size=4),
    st.lists(st.sampled_from([0.90, 0.94, 0.95, 0.96]), min_size=4, max_size=4),
)
def test_by_size_the_smallest_with_the_best_verdict_ships(times, shares):
    measurements = measured(dict(zip(RACE, times)), dict(zip(RACE, shares)))  # noqa: B905
    ranks = {
        each: ([Outcome.PASSED, Outcome.INCONCLUSIVE, Outcome.FAILED].index(found.outcome))
        for each in RACE
        if (found := evaluate(Budgets(accuracy=0.94), measurements, each))
    }
    selected = select_engine(Budgets(accuracy=0.94), measurements, RACE, "size").engine
    equals = [each for each in RACE if ranks[each] == min(ranks.values())]
    assert selected in equals
    if ranks[selected] < 2:  # where all fail, the most accurate one is named
        sizes = [SIZES[named(each)["precision"]] for each in equals]
        assert selected == equals[sizes.index(min(sizes))]


def test_a_small_engine_that_is_slow_ships_if_size_is_preferred():
    measurements = measured({"fp32": 1.0, "int8": 2.0}, {"fp32": 0.96, "int8": 0.95})
    for prefer, expected in (("latency", "fp32"), ("size", "int8")):
        assert gate(BUDGETS, measurements, ["fp32", "int8"], prefer).shipped == expected
    text = select_engine(BUDGETS, measurements, ["fp32", "int8"], "size").reason
    assert "The INT8 engine is the smallest that meets the accuracy budgets" in text
    assert "takes 0.50 times as long, and its file is 4.00 times as large." in text
    assert "loses" not in text
    too_slow = measured({"fp32": 1.0, "int8": 9.0}, {"fp32": 0.96, "int8": 0.95})
    assert gate(BUDGETS, too_slow, ["fp32", "int8"], "size").shipped == "fp32"


def test_the_reason_says_how_every_engine_of_a_race_did():
    p50 = {"int8": 2.0, "fp32": 4.0, "int8-openvino": 1.0, "fp32-openvino": 3.0}
    top1 = {"int8": 0.95, "fp32": 0.96, "int8-openvino": 0.95, "fp32-openvino": 0.90}
    ratios = [("int8", "int8-openvino", 2.0, (1.9, 2.1))]
    selected, text = select_engine(BUDGETS, measured(p50, top1, ratios), RACE)
    assert selected == "int8-openvino"
    assert "The INT8 OpenVINO engine is the fastest that meets the accuracy budgets" in text
    assert "The INT8 engine takes 2.00 (1.90 to 2.10) times as long." in text
    assert "The FP32 OpenVINO engine breaks the accuracy budgets." in text
    assert "loses" not in text  # INT8 wins, whoever runs it


def test_a_trial_whose_int8_engine_is_unusable_is_inaccurate_and_says_why():
    measurements = measured({"fp32": 2.0}, {"fp32": 0.96})
    broken = Measurements.model_validate(
        {**measurements.model_dump(), "unusable": {"int8": {"reason": "It is not finite."}}}
    )
    outcome = outcome_of(BUDGETS, broken)
    assert outcome.inaccurate and not outcome.slow
    trial = trial_of(BUDGETS, broken, ["fc"], 0.5)
    assert (trial.points, trial.p50_ms, trial.not_kept) == (None, None, ["It is not finite."])
    with pytest.raises(ValueError, match="no verdict on an unusable engine"):
        evaluate(Budgets(), broken, "int8")


@pytest.mark.parametrize(
    ("budgets", "allowed"),
    [
        ({"accuracy": 0.85}, 5.0),
        ({"accuracy": 0.92}, -2.0),
        ({"accuracy_drop_points": 3.0}, -1.0),
        ({"accuracy_drop_points": 5.0, "quantization_drop_points": 0.5}, 0.5),
    ],
)
def test_what_quantization_may_lose_is_negative_if_the_student_misses_a_budget(budgets, allowed):
    found = allowed_loss(Budgets(**budgets), student_top1=0.90, teacher_top1=0.94)
    assert found == pytest.approx(allowed)


def test_the_summary_says_that_the_student_itself_misses_a_budget():
    trial = Trial(
        excluded_layers=[], estimated_points=-1.0, points=-1.0, p50_ms=1.0, not_kept=["Too low."]
    )
    said = search_summary("cpu", SearchResult(SearchOutcome.STUDENT_INACCURATE, [0]), [trial])
    assert "The unquantized student itself misses an accuracy budget of cpu" in said
    assert said.endswith("cannot help. Too low.")
