"""What `pack` writes."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
from colour_bundle import COLOURS, Pack, colour_model, contents_of, measurements, verdict
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from tmkd_deploy import __version__
from tmkd_deploy.bundle.pack import clearest_images
from tmkd_deploy.errors import ArtifactError, DataError
from tmkd_deploy.records.verdict import Outcome
from tmkd_deploy.runtime import verify


def test_the_same_inputs_give_the_same_bytes(pack_colours: Pack) -> None:
    first, _ = pack_colours()
    second, _ = pack_colours()
    assert first != second
    assert first.read_bytes() == second.read_bytes()


def test_the_record_describes_the_file(pack_colours: Pack) -> None:
    path, record = pack_colours()
    content = path.read_bytes()
    assert path.name == record.file == "colours-cpu.tmkd"
    assert record.bytes == len(content)
    assert record.sha256 == hashlib.sha256(content).hexdigest() == verify(path).sha256
    assert (record.target, record.precision, record.gate) == ("cpu", "fp32", Outcome.PASSED)


def test_the_manifest_says_what_is_inside(bundle: Path) -> None:
    members = contents_of(bundle)
    document = json.loads(members.pop("manifest.json"))
    assert document["tool_version"] == __version__
    assert document["class_names"] == COLOURS
    (engine,) = document["engines"]
    assert engine["accuracy"]["top1"] == 0.9
    assert engine["latency"]["p99_ms"] == 0.7
    assert engine["threads"] == 1
    assert engine["gate"]["outcome"] == "passed"
    assert engine["gate"]["checks"][0]["budget"] == "accuracy"
    assert members[engine["engine"]] == colour_model()
    assert engine["made_for"] is engine["build"] is None
    assert document["files"] == {
        name: {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
        for name, content in members.items()
    }


def test_what_was_not_measured_is_recorded_as_such(pack_colours: Pack) -> None:
    path, _ = pack_colours(measurements=measurements(measured=False))
    (engine,) = verify(path).manifest.engines
    assert (engine.accuracy, engine.latency, engine.threads) == (None, None, None)


@pytest.mark.parametrize("outcome", [Outcome.FAILED, Outcome.INCONCLUSIVE, Outcome.NOT_JUDGED])
def test_a_gate_that_did_not_pass_is_packed_and_shown(pack_colours: Pack, outcome: Outcome) -> None:
    path, record = pack_colours(verdict=verdict(outcome))
    assert record.gate is outcome
    report = verify(path)
    assert report.manifest.engines[0].gate == outcome.value
    assert any(outcome.words in warning for warning in report.warnings)


def test_a_passed_gate_gives_no_warning(bundle: Path) -> None:
    report = verify(bundle)
    assert report.warnings == ()
    assert report.executed
    assert report.engines[0].largest_difference == 0.0
    assert report.engines[0].golden_images == 3


def test_an_engine_that_disagrees_with_its_golden_logits_is_not_packed(
    pack_colours: Pack, tmp_path: Path
) -> None:
    with pytest.raises(DataError, match="computes different results on this machine"):
        pack_colours(golden_logits=np.zeros((3, 3), np.float32))
    assert list(tmp_path.rglob("*.tmkd")) == []


@pytest.mark.parametrize("class_names", [COLOURS[:2], ["red", "red", "blue"], []])
def test_class_names_must_fit_the_engine(pack_colours: Pack, class_names: list[str]) -> None:
    with pytest.raises(DataError):
        pack_colours(class_names=class_names)


def test_a_missing_engine_is_named(pack_colours: Pack, tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match=r"absent\.onnx"):
        pack_colours(engine=tmp_path / "absent.onnx")


@settings(deadline=None)
@given(
    logits=arrays.arrays(
        np.float32,
        st.tuples(st.integers(1, 20), st.integers(1, 4)),
        elements=st.floats(-50, 50, width=32),
    ),
    count=st.integers(1, 25),
)
def test_the_clearest_images_cover_the_classes(logits: np.ndarray, count: int) -> None:
    chosen = clearest_images(logits, count)
    assert chosen == sorted(set(chosen))
    assert len(chosen) == min(count, len(logits))
    predicted = logits.argmax(axis=1)
    classes = len(set(predicted.tolist()))
    assert len(set(predicted[chosen].tolist())) == min(count, classes)


def test_the_clearest_image_of_each_class_comes_first() -> None:
    logits = np.array([[5.0, 0.0], [9.0, 0.0], [0.0, 1.0], [0.0, 0.5]], np.float32)
    assert clearest_images(logits, 2) == [1, 2]
    assert clearest_images(logits, 3) == [0, 1, 2]
