"""Figures that cannot be right make no record; records that cannot be read back, no artifact."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from report_fixture import cpu_gate, cpu_measurements, rtx_target
from test_report_timing_tables import measured_latency

from tmkd_deploy import artifacts
from tmkd_deploy.artifacts import Record
from tmkd_deploy.errors import DataError
from tmkd_deploy.gate.evaluate import evaluate
from tmkd_deploy.recipe.schema import Budgets
from tmkd_deploy.records.measurements import Measurements, Unusable
from tmkd_deploy.records.verdict import Check, GateRecord, Outcome, Verdict, worst

MEASURED = Measurements.model_validate(
    {**cpu_measurements().model_dump(), "latency": measured_latency().model_dump()}
)
PLAIN: dict[str, Any] = MEASURED.model_dump(mode="json")
# settings and labels, whose numbers are not measured
NOT_FIGURES = {"protocol", "machine"}


def figures(value: Any, place: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Where the numbers of a JSON value are."""
    if isinstance(value, dict | list):
        items = value.items() if isinstance(value, dict) else enumerate(value)
        for key, each in items:
            if key not in NOT_FIGURES:
                yield from figures(each, (*place, key))
    elif isinstance(value, int | float) and not isinstance(value, bool):
        yield place


PLACES = sorted(figures(PLAIN), key=str)


def with_value(place: tuple[Any, ...], value: Any) -> dict[str, Any]:
    changed = copy.deepcopy(PLAIN)
    inner: Any = changed
    for key in place[:-1]:
        inner = inner[key]
    inner[place[-1]] = value
    return changed


def test_what_is_sound_can_be_read_back() -> None:
    assert Measurements.model_validate(PLAIN) == MEASURED
    assert len(PLACES) > 300


@given(st.sampled_from(PLACES), st.sampled_from([math.nan, math.inf, -math.inf]))
def test_no_figure_may_be_infinite_or_nan(place: tuple[Any, ...], value: float) -> None:
    with pytest.raises(ValidationError):
        Measurements.model_validate(with_value(place, value))


# what may be below zero: changes, temperatures and the ends of a histogram
SIGNED = {"change_points", "change_interval", "calibration_error_change", "temperature_c"}


@given(st.sampled_from(PLACES), st.floats(-1e300, -1e-3))
def test_no_count_time_or_share_may_be_negative(place: tuple[Any, ...], value: float) -> None:
    if SIGNED.intersection(place) or "histogram_edges_ms" in place:
        return
    with pytest.raises(ValidationError):
        Measurements.model_validate(with_value(place, value))


@given(
    st.sampled_from(
        [place for place in PLACES if place[0] == "ledger" and not SIGNED.intersection(place)]
    ),
    st.floats(1.001, 1e300),
)
def test_no_share_may_exceed_one(place: tuple[Any, ...], value: float) -> None:
    if place[-1] in ("gained", "lost", "still_wrong") or "flips" in place:
        return
    with pytest.raises(ValidationError):
        Measurements.model_validate(with_value(place, value))


@pytest.mark.parametrize(
    "place",
    [
        ("latency", "rows", 0, "p50_interval_ms"),
        ("latency", "rows", 1, "p99_interval_ms"),
        ("latency", "ratios", 0, "interval"),
        ("ledger", 1, "change_interval"),
        ("ledger", 1, "top1_interval"),
        ("latency", "rows", 0, "histogram_edges_ms"),
        ("latency", "conditions", "gpu_hz"),
    ],
    ids=str,
)
def test_what_ascends_may_not_be_turned_round(place: tuple[Any, ...]) -> None:
    value: Any = PLAIN
    for key in place:
        value = value[key]
    with pytest.raises(ValidationError, match=r"ascend|must end where"):
        Measurements.model_validate(with_value(place, value[::-1]))


@pytest.mark.parametrize(
    ("place", "value"),
    [
        (("latency", "rows", 0, "p50_ms"), 1e6),
        (("latency", "rows", 0, "p90_ms"), 1e-6),
        (("latency", "rows", 2, "device", "p50_ms"), 5.0),
        (("latency", "rows", 0, "histogram_counts"), [1]),
        (("latency", "rows", 0, "runs"), 0),
        (("test_images",), 0),
        (("confusion_by_engine", "int8"), [[331, 37]]),
        (("confusion_by_engine", "int8"), [[331, 37], [53]]),
        (("confusion_by_engine", "int8"), [[331, 37], [53, 104]]),
        (("confusion_by_engine", "int8"), [[332, 37], [52, 103]]),  # other classes than FP32's
        (("unusable",), {"int8": {"reason": "It is broken."}}),
    ],
)
def test_figures_that_contradict_each_other_are_refused(place: tuple[Any, ...], value: Any) -> None:
    with pytest.raises(ValidationError):
        Measurements.model_validate(with_value(place, value))


def check(outcome: Outcome, measured: float | None = 1.0) -> Check:
    return Check(
        budget="accuracy",
        limit=0.5,
        measured=measured,
        interval=None,
        unit="",
        outcome=outcome,
        explanation="So it is.",
    )


# what a check may be
CHECKED = [each for each in Outcome if each is not Outcome.NOT_JUDGED]


@given(st.lists(st.sampled_from(CHECKED), max_size=4), st.sampled_from(Outcome))
def test_a_verdict_is_the_worst_of_its_checks(found: list[Outcome], claimed: Outcome) -> None:
    checks = [check(outcome) for outcome in found]
    if claimed is worst(found):
        why = "There are no budgets." if claimed is Outcome.NOT_JUDGED else None
        Verdict(target="cpu", outcome=claimed, checks=checks, not_judged=why)
        return
    with pytest.raises(ValidationError, match="the worst of its checks"):
        Verdict(target="cpu", outcome=claimed, checks=checks)


@pytest.mark.parametrize("outcome", [Outcome.PASSED, Outcome.FAILED])
def test_nothing_unmeasured_is_passed_or_failed(outcome: Outcome) -> None:
    with pytest.raises(ValidationError, match="inconclusive"):
        check(outcome, measured=None)


@pytest.mark.parametrize("measured", [math.nan, math.inf])
def test_no_check_is_made_of_a_figure_that_is_not_finite(measured: float) -> None:
    with pytest.raises(ValidationError, match="finite"):
        check(Outcome.PASSED, measured)


def test_an_unusable_or_missing_engine_cannot_ship() -> None:
    record = cpu_gate()
    broken = {
        **PLAIN,
        "ledger": [],
        "latency": None,
        "confusion_by_engine": {},
        "unusable": {"int8": Unusable(reason="Its logits are not finite.").model_dump()},
    }
    for shipped, measurements in (("int8", broken), ("fp16", PLAIN)):
        changed = {**record.model_dump(), "would_ship": shipped, "measurements": measurements}
        with pytest.raises(ValidationError, match="cannot ship"):
            GateRecord.model_validate(changed)


def test_nothing_ships_from_a_failed_gate() -> None:
    failed = cpu_gate(accuracy=0.99)
    assert (failed.shipped, failed.would_ship) == (None, "int8")
    with pytest.raises(ValidationError, match="unless its gate failed"):
        GateRecord.model_validate({**failed.model_dump(), "shipped": "int8"})


def test_an_engine_that_nobody_ran_cannot_pass() -> None:
    gate = rtx_target().gate
    passed = evaluate(Budgets(engine_size_mb=9.0), cpu_measurements(), "int8")
    with pytest.raises(ValidationError, match="nobody ran cannot pass"):
        GateRecord.model_validate({**gate.model_dump(), "verdict": passed.model_dump()})


class Figure(Record):
    value: float


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("make", [Figure, Figure.model_construct])
def test_an_artifact_that_could_not_be_read_back_is_not_written(
    tmp_path: Path, value: float, make: Any
) -> None:
    place = tmp_path / "stage"
    with artifacts.writing(place, kind="stage", fingerprint="old", inputs={}) as draft:
        draft.record = Figure(value=1.0)
    with (
        pytest.raises(DataError, match="The stage 'stage' arrived at a value") as refused,
        artifacts.writing(place, kind="stage", fingerprint="new", inputs={}) as draft,
    ):
        draft.record = make(value=value)
    assert refused.value.where == "Figure.value"
    assert artifacts.read(place, "stage", Figure).record == Figure(value=1.0)
    assert list(tmp_path.iterdir()) == [place]
