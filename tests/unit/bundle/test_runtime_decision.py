"""A bundle's decision threshold: how it is applied, carried and guarded against older readers."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from colour_bundle import COLOURS, Pack, as_older, contents_of, solid, with_engine, with_manifest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from PIL import Image

from tmkd_deploy.bundle.pack import clearest_images
from tmkd_deploy.cli.main import main
from tmkd_deploy.runtime import BundleError, load, verify
from tmkd_deploy.runtime.decision import Decision, decide, margins, probabilities

LOGITS = arrays.arrays(
    np.float32,
    st.tuples(st.integers(1, 12), st.integers(2, 5)),
    elements=st.floats(-80, 80, width=32),
)
DECISIONS = st.builds(Decision, label=st.integers(0, 1), threshold=st.floats(0, 1))
GREEN = Decision(COLOURS.index("green"), 0.01)


# deciding


@given(logits=LOGITS, decision=DECISIONS)
def test_the_threshold_alone_decides_on_its_class(logits: np.ndarray, decision: Decision) -> None:
    label = decision.label
    for row, found in zip(logits, decide(logits, decision), strict=True):
        reached = probabilities(row[None])[0, label] >= decision.threshold
        others = [each for each in range(len(row)) if each != label]
        assert found == (label if reached else max(others, key=lambda each: row[each]))


@given(logits=LOGITS, label=st.integers(0, 1), one=st.floats(0, 1), other=st.floats(0, 1))
def test_a_lower_threshold_only_adds_to_its_class(
    logits: np.ndarray, label: int, one: float, other: float
) -> None:
    low, high = sorted([one, other])
    few, many = (decide(logits, Decision(label, each)) == label for each in (high, low))
    assert not (few & ~many).any()


@given(logits=LOGITS)
def test_without_a_threshold_the_highest_logit_wins(logits: np.ndarray) -> None:
    assert decide(logits, None).tolist() == logits.argmax(axis=1).tolist()
    two = logits[:, :2]
    clear = np.abs(two[:, 0] - two[:, 1]) > 1e-3
    half = decide(two, Decision(1, 0.5))
    assert half[clear].tolist() == two.argmax(axis=1)[clear].tolist()


@given(
    logits=LOGITS,
    decision=st.none() | st.builds(Decision, st.integers(0, 1), st.floats(0.01, 0.99)),
    class_=st.integers(0, 1),
    share=st.floats(0.1, 0.9),
)
def test_within_its_margin_an_image_keeps_its_class(
    logits: np.ndarray, decision: Decision | None, class_: int, share: float
) -> None:
    exact = logits.astype(np.float64)
    margin = margins(exact, decision)
    assert (margin >= 0).all()
    clear = margin > 1e-6
    for sign in (1, -1):
        moved = exact.copy()
        moved[:, class_] += sign * share * margin
        kept = decide(moved, decision) == decide(exact, decision)
        assert kept[clear].all()


def test_golden_images_lie_on_both_sides_far_from_the_threshold() -> None:
    odds = np.array([-9.0, -2.1, -1.9, 3.0, 5.0])
    logits = np.stack([np.zeros(5), odds], axis=1).astype(np.float32)
    decision = Decision(1, float(1 / (1 + np.exp(2.0))))  # odds of -2
    assert clearest_images(logits, 2, decision) == [0, 4]
    assert decide(logits, decision).tolist() == [0, 0, 1, 1, 1]


# in a bundle


@pytest.fixture
def guarded(pack_colours: Pack) -> Path:
    return pack_colours(decision=GREEN)[0]


def mixed(green: int) -> np.ndarray:
    """Red pixels with some green: one logit is 16 of a channel's mean."""
    image = solid("red")
    image[:, :, 1] = green
    return image


def test_predictions_follow_the_threshold(bundle: Path, guarded: Path) -> None:
    plain, model = load(bundle), load(guarded)
    faint = mixed(green=150)  # 4.4 logits below red: 1.2 %
    assert plain.predict(faint).label == "red"
    found = model.predict(faint)
    assert (found.label, found.index) == ("green", 1)
    assert found.confidence == found.probabilities["green"] < found.probabilities["red"]
    assert found.confidence >= GREEN.threshold
    batch = model.predict_batch([faint, mixed(green=140), solid("blue")])
    assert [each.label for each in batch] == ["green", "red", "blue"]


def test_the_manifest_says_how_images_are_decided(guarded: Path) -> None:
    document = json.loads(contents_of(guarded)["manifest.json"])
    (engine,) = document["engines"]
    assert engine["decision"] == {"class": "green", "threshold": 0.01}
    assert engine["golden"]["classes"] == COLOURS
    assert verify(guarded).manifest.engines[0].decision == load(guarded).engine.decision == GREEN


def test_a_bundle_without_a_threshold_says_nothing_of_one(bundle: Path) -> None:
    document = json.loads(contents_of(bundle)["manifest.json"])
    (described,) = document["engines"]
    assert "decision" not in described and "classes" not in described["golden"]
    engine = load(bundle).engine
    assert engine.decision is engine.threshold is engine.guarded_class is None


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda engine: engine.pop("decision"), "'decision'"),
        (lambda engine: engine.update(decision=None), "'decision'"),
        (lambda engine: engine["decision"].pop("threshold"), "'threshold'"),
        (lambda engine: engine["decision"].update(threshold=1.5), "'decision.threshold'"),
        (lambda engine: engine["decision"].update(threshold=True), "'threshold'"),
        (lambda engine: engine["decision"].update({"class": "pink"}), "'decision.class'"),
        (lambda engine: engine["decision"].update({"class": 1}), "'class'"),
        (lambda engine: engine["golden"].pop("classes"), "'classes'"),
        (lambda engine: engine["golden"].update(classes=["pink"] * 3), "'golden.classes'"),
        (lambda engine: engine["golden"].update(classes=[["red"]] * 3), "'golden.classes'"),
        (lambda engine: engine["golden"].update(classes=["red"]), "golden images and logits"),
        # every image is green, or none is
        (lambda engine: engine["decision"].update(threshold=0), "'green' instead of 'red'"),
        (lambda engine: engine["decision"].update(threshold=1), "instead of 'green'"),
    ],
)
def test_a_threshold_that_does_not_fit_is_refused(
    guarded: Path, change: Callable[[dict[str, Any]], object], told: str
) -> None:
    with_engine(guarded, change)
    for use in (verify, load):
        with pytest.raises(BundleError, match=told):
            use(guarded)


def test_an_older_bundle_decides_likewise(guarded: Path) -> None:
    assert load(as_older(guarded, 2)).predict(mixed(green=150)).label == "green"
    # a reader of version 1 would accept it and ignore the threshold
    with_manifest(guarded, lambda document: document.update(format_version=1))
    with pytest.raises(BundleError, match="'decision'"):
        load(guarded)


def test_the_command_line_decides_likewise(guarded: Path, tmp_path: Path, capsys: Any) -> None:
    Image.fromarray(mixed(green=150)).save(tmp_path / "faint.png")
    assert main(["bundle", "run", str(guarded), str(tmp_path / "faint.png"), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["label"] == "green" and found["confidence"] < 0.5


def test_a_manifest_is_told_whole(guarded: Path, capsys: Any) -> None:
    assert main(["bundle", "show", str(guarded), "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert shown == json.loads(json.dumps(dataclasses.asdict(verify(guarded).manifest)))
    (engine,) = shown["engines"]
    assert engine["threshold"] == 0.01 and engine["guarded_class"] == "green"
