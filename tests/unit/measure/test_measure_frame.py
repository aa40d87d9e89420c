"""Whole frames, timed with a real engine by the code of an application's `predict`."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import broken_engines
import numpy as np
import pytest
from broken_engines import IMAGES, Stand, followed_by, under_test, write
from colour_bundle import COLOURS, SIDE
from pydantic import ValidationError
from recorded_events import RecordedEvents

from tmkd_deploy.engines.open_engine import open_engine
from tmkd_deploy.errors import DataError
from tmkd_deploy.gate.gate import gate
from tmkd_deploy.measure.bench import LocalBench
from tmkd_deploy.measure.frame import FrameTiming
from tmkd_deploy.recipe.schema import Budgets
from tmkd_deploy.records.measurements import Measurements
from tmkd_deploy.records.verdict import Outcome
from tmkd_deploy.runtime.decision import Decision
from tmkd_deploy.runtime.preprocess import Preprocessing
from tmkd_deploy.runtime.session_options import SessionOptions

LETTERBOX = Preprocessing(SIDE, SIDE, "letterbox")


@pytest.fixture
def stand(tmp_path: Path) -> Stand:
    return broken_engines.stand(tmp_path)


def frame_timing(*engines: str, width: int = 64, height: int = 48) -> FrameTiming:
    return FrameTiming(width, height, engines, LETTERBOX, COLOURS)


def measured(stand: Stand, frame: FrameTiming | None, **kinds: str) -> Measurements:
    files, events = write(stand.folder, **kinds), RecordedEvents()
    images = {"test": stand.data.images("test")}
    bench = LocalBench(under_test(files), images, stand.recipe.measure, events, frame)
    return stand.measure(files, bench, events)


def test_frames_are_timed_with_each_engine_that_may_ship(stand: Stand) -> None:
    found = measured(stand, frame_timing("int8"), fp32="sound", int8="sound")
    frame = found.latency.frame
    assert (frame.width, frame.height) == (64, 48)
    assert [row.engine for row in frame.rows] == ["int8"]
    assert [row.engine for row in found.latency.rows] == ["fp32", "int8"]
    assert found.frame_latency("int8") == frame.rows[0] and found.frame_latency("fp32") is None
    assert frame.rows[0].label == found.engine_latency("int8").label
    for row in (*frame.rows, frame.resizing):
        assert row.runs >= stand.recipe.measure.min_runs
        assert row.p50_interval_ms[0] <= row.p50_ms <= row.p50_interval_ms[1]
    # ratios are between engines
    assert {each.denominator for each in found.latency.ratios} == {"int8"}
    again = Measurements.model_validate_json(found.model_dump_json())
    assert again == found


def test_an_unusable_engine_has_no_frames(stand: Stand) -> None:
    found = measured(stand, frame_timing("int8", "fp32"), fp32="sound", int8="nan")
    assert [row.engine for row in found.latency.frame.rows] == ["fp32"]


def test_an_engine_that_fails_on_frames_alone_stops_the_measurement(stand: Stand) -> None:
    # finite on plain images, whose logits are 1.25 and 13.75, and not between bars of grey
    steps = [("Sub", 7.5, {}), ("Abs", None, {}), ("Sub", 5.0, {}), ("Sqrt", None, {})]
    files, events = write(stand.folder, fp32="sound"), RecordedEvents()
    files["fp32"].write_bytes(followed_by(steps))
    images = {"test": stand.data.images("test")}
    frame, settings = frame_timing("fp32"), stand.recipe.measure
    bench = LocalBench(under_test(files), images, settings, events, frame)
    with pytest.raises(DataError, match="fails on frames that were made of the images") as caught:
        stand.measure(files, bench, events)
    assert "`frame`" in caught.value.advice


def test_frames_of_an_engine_that_was_not_timed_alone_are_refused(stand: Stand) -> None:
    found = measured(stand, frame_timing("fp32"), fp32="sound").model_dump()
    found["latency"]["frame"]["rows"][0]["engine"] = "int8"
    with pytest.raises(ValidationError, match="timed alone as well"):
        Measurements.model_validate(found)


def test_without_a_frame_there_are_none(stand: Stand) -> None:
    found = measured(stand, None, fp32="sound")
    assert found.latency.frame is None and found.frame_latency("fp32") is None


@pytest.mark.parametrize(
    ("budget", "limit", "outcome"),
    [
        ("frame_p50_ms", 1e6, Outcome.PASSED),
        ("frame_p99_ms", 1e6, Outcome.PASSED),
        ("frame_p50_ms", 1e-5, Outcome.FAILED),
        ("frame_p99_ms", 1e-5, Outcome.FAILED),
    ],
)
def test_a_budget_on_frames_is_judged(
    stand: Stand, budget: str, limit: float, outcome: Outcome
) -> None:
    found = measured(stand, frame_timing("fp32"), fp32="sound")
    (check,) = gate(Budgets(**{budget: limit}), found, ["fp32"]).verdict.checks
    row = found.frame_latency("fp32")
    assert check.outcome is outcome and check.unit == "ms"
    assert check.measured == (row.p50_ms if budget == "frame_p50_ms" else row.p99_ms)
    assert "latency of a frame is" in check.explanation


def test_a_budget_on_frames_that_were_not_timed_is_inconclusive(stand: Stand) -> None:
    found = measured(stand, None, fp32="sound")
    verdict = gate(Budgets(frame_p50_ms=1e6), found, ["fp32"]).verdict
    assert verdict.outcome is Outcome.INCONCLUSIVE
    assert "was not measured" in verdict.checks[0].explanation


def test_what_is_timed_answers_as_an_application_does(stand: Stand) -> None:
    """Frames hold what the images show, and the decision counts."""
    files = write(stand.folder, fp32="sound")
    session = open_engine("onnxruntime", files["fp32"], SessionOptions(1))
    sessions = frame_timing("fp32").sessions({"fp32": session}, {"fp32": None}, IMAGES[:3])
    assert set(sessions) == {"resizing", "frame fp32"}
    answers = [int(sessions["frame fp32"].infer(IMAGES[:1]).argmax()) for _ in range(6)]
    assert answers == [0, 1, 2, 0, 1, 2]
    resized = sessions["resizing"].infer(IMAGES[:1])
    assert resized.shape == (SIDE, SIDE, 3)
    assert resized[0].tolist() == [[128] * 3] * SIDE  # the bar above a wide frame
    assert np.array_equal(resized[4, 4], IMAGES[0][0, 0])
    always_blue = Decision(2, 0.0)
    guarded = frame_timing("fp32")._classifier(session, always_blue)
    assert guarded.predict(IMAGES[0]).label == "blue"


def test_large_frames_are_few(stand: Stand) -> None:
    frame = frame_timing("fp32", width=4096, height=2160)
    assert len(frame._frames(IMAGES)) == 2
    assert len(dataclasses.replace(frame, width=640, height=480)._frames(IMAGES)) == len(IMAGES)
