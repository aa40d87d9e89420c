"""The decision threshold: chosen on validation images, applied to every figure."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path
from typing import Any

import broken_engines
import numpy as np
import pytest
from broken_engines import IMAGES, KEYS, LABELS, Stand, under_test, write
from colour_bundle import COLOURS, SIDE
from data_records import data_record
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from recorded_events import RecordedEvents

from tmkd_deploy.data.prepared import PreparedData
from tmkd_deploy.devices.address import LocalAddress
from tmkd_deploy.devices.device import Device
from tmkd_deploy.errors import RequestError
from tmkd_deploy.gate.gate import gate
from tmkd_deploy.measure.bench import DeviceBench, LocalBench
from tmkd_deploy.measure.threshold import Guard, check_guarded_class, choose_threshold, decided
from tmkd_deploy.proportions import fewest_right, fewest_to_show
from tmkd_deploy.recipe.schema import Budgets, Decision
from tmkd_deploy.records.logits import Logits
from tmkd_deploy.records.measurements import Measurements
from tmkd_deploy.runtime.decision import decide

SCORES = st.lists(st.floats(0, 1), min_size=1, max_size=200).map(np.array)
RECALLS = st.floats(0.01, 0.99)


# how many must be found


@pytest.mark.parametrize(
    ("total", "share", "fewest"),
    [
        # Wilks (1941): 59 images show 95 %, 299 show 99 %
        *((58, 0.95, None), (59, 0.95, 59), (298, 0.99, None), (299, 0.99, 299)),
        # one may be missed of 93, two of 124
        *((92, 0.95, 92), (93, 0.95, 92), (123, 0.95, 122), (124, 0.95, 122)),
        *((0, 0.5, None), (4, 0.5, None), (5, 0.5, 5)),
    ],
)
def test_as_many_are_found_as_tables_of_tolerance_limits_say(
    total: int, share: float, fewest: int | None
) -> None:
    assert fewest_right(total, share) == fewest


@given(total=st.integers(1, 400), share=RECALLS)
def test_fewer_would_be_likely_by_chance(total: int, share: float) -> None:
    def by_chance(right: int) -> float:
        """How likely at least `right` are right if the share is what is to be shown."""
        return sum(
            math.comb(total, each) * share**each * (1 - share) ** (total - each)
            for each in range(right, total + 1)
        )

    fewest = fewest_right(total, share)
    if fewest is None:
        assert by_chance(total) > 0.05 - 1e-9
        assert total < fewest_to_show(share)
    else:
        assert by_chance(fewest) <= 0.05 + 1e-9
        assert by_chance(fewest - 1) > 0.05 - 1e-9
        assert total >= fewest_to_show(share)


# the choice


@given(scores=SCORES, recall=RECALLS)
def test_the_recall_is_attained_on_the_validation_images(scores: np.ndarray, recall: float) -> None:
    threshold = choose_threshold(scores, recall)
    found = int((scores >= threshold).sum())
    assert 0 <= threshold <= 1
    assert found >= (fewest_right(len(scores), recall) or len(scores))
    assert found / len(scores) >= recall


@given(scores=SCORES, one=RECALLS, other=RECALLS)
def test_a_higher_recall_never_raises_the_threshold(
    scores: np.ndarray, one: float, other: float
) -> None:
    lower, higher = sorted([one, other])
    assert choose_threshold(scores, higher) <= choose_threshold(scores, lower)


@given(scores=SCORES, recall=RECALLS)
def test_no_larger_threshold_shows_it(scores: np.ndarray, recall: float) -> None:
    needed = fewest_right(len(scores), recall) or len(scores)
    threshold = choose_threshold(scores, recall)
    larger = max(threshold * 1.0011, threshold + 5e-324)  # four digits are kept
    assert (scores > larger).sum() < needed


def test_images_with_the_same_score_are_all_found() -> None:
    scores = np.array([0.75] * 60 + [0.25] * 60)
    assert choose_threshold(scores, 0.5) == choose_threshold(scores, 0.95) == 0.2499
    assert choose_threshold(scores, 0.3) == 0.7499


def test_the_threshold_is_rounded_down() -> None:
    assert choose_threshold(np.array([0.123456]), 0.95) == 0.1234
    assert choose_threshold(np.array([1.23456e-9]), 0.95) == 1.234e-9
    assert choose_threshold(np.array([1.0]), 0.95) == 0.9999
    assert choose_threshold(np.array([0.0]), 0.95) == 0


def test_new_images_reach_the_recall_19_times_of_20() -> None:
    random = np.random.default_rng(0)
    validation = random.uniform(size=(3000, 130))
    # of new images with such scores, 1 - t lie above t
    thresholds = np.array([choose_threshold(scores, 0.95) for scores in validation])
    assert 0.95 <= (1 - thresholds >= 0.95).mean() < 0.99
    quantiles = np.sort(validation)[:, 130 - 124]  # 124 of 130 are 95.4 %
    assert 0.4 < (1 - quantiles >= 0.95).mean() < 0.6


@given(
    logits=arrays.arrays(
        np.float32, st.tuples(st.integers(1, 40), st.just(3)), elements=st.floats(-60, 60, width=32)
    ),
    recall=RECALLS,
    label=st.integers(0, 2),
)
def test_decisions_attain_the_recall_too(logits: np.ndarray, recall: float, label: int) -> None:
    of_class = np.arange(len(logits)) % 2 == 0
    guard = Guard(label, recall, of_class)
    keys = [str(each) for each in range(len(logits))]
    decision = guard.decision(Logits([logits], of="a", images=keys, classes=3))
    assert (decide(logits, decision)[of_class] == label).mean() >= recall


def test_the_threshold_comes_from_validation_images_whatever_is_judged() -> None:
    asked: list[str] = []

    def logits_on(split: Any) -> Logits:
        asked.append(split)
        values = np.array([[0.0, 2.0], [0.0, 1.0]]) if split == "val" else np.eye(2)
        return Logits([values], of="a", images=["a", "b"], classes=2)

    guard = Guard(1, 0.9, np.array([False, True]))
    judged, decision = decided(logits_on, "test", guard)
    assert asked == ["test", "val"] and judged.values[0, 0] == 1
    assert decision is not None and decision.threshold == pytest.approx(0.731, abs=1e-3)
    assert decided(logits_on, "val", guard)[1] == decision
    assert decided(logits_on, "test", None)[1] is None
    assert asked == ["test", "val", "val", "test"]


# what the data allow


def record(**counts: int) -> Any:
    return data_record(COLOURS, SIDE, val_counts=counts)


def test_too_few_validation_images_are_told() -> None:
    asked = Decision(guarded_class="green", recall=0.95)
    assert check_guarded_class(asked, record(green=59)) is None
    assert check_guarded_class(Decision(), record()) is None
    assert check_guarded_class(asked, record(green=40)) == (
        '40 validation images of "green" are too few to show a recall of 0.95; 59 could. The '
        "threshold misses none of them, which shows a recall of 0.92 or more."
    )


@pytest.mark.parametrize(
    ("name", "told"),
    [("gren", 'Did you mean "green"'), ("green", "Raise data.val_fraction")],
)
def test_a_class_without_validation_images_is_refused(name: str, told: str) -> None:
    with pytest.raises(RequestError) as error:
        check_guarded_class(Decision(guarded_class=name), record(red=50))
    assert error.value.where == "decision.guarded_class"
    assert told in error.value.advice


# what is measured


def shifted(by: list[float]) -> bytes:
    """The classifier of colours, its logits scaled down and shifted."""
    return broken_engines.followed_by([("Mul", 0.1, {}), ("Add", by, {})])


@pytest.fixture
def stand(tmp_path: Path) -> Stand:
    """As for unusable engines; every second validation image of green is as weak as red."""
    made = broken_engines.stand(tmp_path)
    validation = IMAGES.copy()
    validation[4::6] = 120
    data = PreparedData(
        record(**dict.fromkeys(COLOURS, 4)),
        {"test": IMAGES, "val": validation},
        {"test": LABELS.astype(np.int64), "val": LABELS.astype(np.int64)},
        {"test": list(KEYS), "val": list(KEYS)},
    )
    decision = Decision(guarded_class="green", recall=0.9)
    return dataclasses.replace(
        made, data=data, recipe=made.recipe.model_copy(update={"decision": decision})
    )


@pytest.mark.parametrize("where", ["here", "device"])
def test_each_engine_has_its_own_threshold(
    where: str, stand: Stand, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = write(stand.folder, fp32="sound", fp16="sound")
    files["fp16"].write_bytes(shifted([0.0, 0.5, 0.0]))
    settings, events = stand.recipe.measure, RecordedEvents()
    if where == "here":
        images = {split: stand.data.images(split) for split in ("val", "test")}
        found = stand.measure(
            files, LocalBench(under_test(files), images, settings, events), events
        )
    else:
        monkeypatch.setenv("TMKD_DEPLOY_AGENT_HOME", str(stand.folder / "agent"))
        paths = {split: tmp_path / f"{split}.npy" for split in ("val", "test")}
        for split, path in paths.items():
            np.save(path, stand.data.images(split))
        with Device(LocalAddress(), events) as device:
            device.lock()
            there = DeviceBench(under_test(files), paths, settings, device)
            found = stand.measure(files, there, events)
    # a grey image has three equal logits
    assert found.threshold("fp32") == 0.3333
    assert found.threshold("fp16") == pytest.approx(math.exp(0.5) / (2 + math.exp(0.5)), abs=1e-4)
    assert found.guarded_class == "green" and found.guarded_recall == 0.9
    assert '4 validation images of "green" are too few' in found.concerns[0]


def test_every_figure_of_the_verdict_follows_the_threshold(stand: Stand) -> None:
    """On the scores alone, this engine never answers green."""
    files = write(stand.folder, fp32="sound")
    files["fp32"].write_bytes(shifted([9.0, 0.0, 9.0]))
    images = {split: stand.data.images(split) for split in ("val", "test")}
    bench = LocalBench(under_test(files), images, stand.recipe.measure, RecordedEvents())
    budgets = Budgets(recall={"green": 0.9}, accuracy=0.9)

    def judged(recipe: Any) -> Any:
        found = dataclasses.replace(stand, recipe=recipe).measure(files, bench, RecordedEvents())
        return gate(budgets, found, ["fp32"])

    plain = judged(stand.recipe.model_copy(update={"decision": Decision()}))
    assert plain.threshold is None and plain.guarded_class is None
    assert [row[1] for row in plain.confusion] == [0, 0, 0]
    guarded = judged(stand.recipe)
    assert guarded.guarded_class == "green"
    assert guarded.threshold == guarded.accuracy.threshold == guarded.measurements.threshold("fp32")
    assert guarded.confusion[1] == [0, 4, 0]
    assert guarded.accuracy.top1 == guarded.accuracy.macro_recall == 1
    assert plain.accuracy.top1 == plain.accuracy.macro_recall == pytest.approx(2 / 3)
    checks = {check.budget: check.measured for check in guarded.verdict.checks}
    assert checks == {"recall.green": 1.0, "accuracy": 1.0}
    # calibration is a property of the scores
    assert guarded.accuracy.expected_calibration_error == plain.accuracy.expected_calibration_error


def test_without_a_bench_the_threshold_is_that_of_the_onnx_file(stand: Stand) -> None:
    found = stand.measure(write(stand.folder, fp32="sound"), None, RecordedEvents())
    assert not found.ran("fp32")
    assert found.threshold("fp32") == 0.3333


def test_measurements_of_older_versions_have_no_threshold(stand: Stand) -> None:
    found = stand.measure(write(stand.folder, fp32="sound"), None, RecordedEvents())
    older = found.model_dump(exclude={"guarded_class", "guarded_recall"})
    for row in older["ledger"]:
        del row["threshold"]
    assert Measurements.model_validate(older).threshold("fp32") is None
    with pytest.raises(ValueError, match="every model must have a threshold"):
        Measurements.model_validate({**older, "guarded_class": "green"})
