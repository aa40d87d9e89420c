"""Engines without sound logits have no figures, run by ONNX Runtime here or by a real agent."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import broken_engines
import numpy as np
import pytest
from broken_engines import Stand, under_test, write
from recorded_events import RecordedEvents

from tmkd_deploy.devices.address import LocalAddress
from tmkd_deploy.devices.device import Device
from tmkd_deploy.errors import DataError
from tmkd_deploy.gate.gate import gate
from tmkd_deploy.measure.bench import Bench, DeviceBench, LocalBench
from tmkd_deploy.recipe.schema import Budgets
from tmkd_deploy.records.logits import Logits, LogitsError
from tmkd_deploy.records.verdict import Outcome

OpenBench = Callable[[dict[str, Path]], Bench]
# below the share of the first class, which an engine of NaN was taken to answer
GENEROUS = Budgets(accuracy=0.2, accuracy_drop_points=90, quantization_drop_points=90)


@pytest.fixture
def stand(tmp_path: Path) -> Stand:
    return broken_engines.stand(tmp_path)


@pytest.fixture
def open_bench(where: str, stand: Stand, monkeypatch: pytest.MonkeyPatch) -> Iterator[OpenBench]:
    """Opens engines on this machine, or through a session with the real agent."""
    settings, events = stand.recipe.measure, RecordedEvents()
    if where == "here":
        images = {"test": stand.data.images("test")}
        yield lambda files: LocalBench(under_test(files), images, settings, events)
        return
    monkeypatch.setenv("TMKD_DEPLOY_AGENT_HOME", str(stand.folder / "agent"))
    file = stand.folder / "images.npy"
    np.save(file, stand.data.images("test"))
    with Device(LocalAddress(), events) as device:
        device.lock()
        yield lambda files: DeviceBench(under_test(files), {"test": file}, settings, device)


@pytest.mark.parametrize(
    ("where", "kind", "told"),
    [
        ("here", "nan", "are not finite for 12 of 12 images, the first being 'red-0.png'"),
        ("device", "nan", "are not finite for 12 of 12 images, the first being 'red-0.png'"),
        ("here", "green", "are not finite for 4 of 12 images, the first being 'green-0.png'"),
        ("here", "inf", "are not finite for 12 of 12 images"),
        ("here", "half", "are not finite for 12 of 12 images"),
        ("here", "integers", "are int64 [12, 3], and must be floating point [12, 3]"),
        ("device", "integers", "are int64 [12, 3], and must be floating point [12, 3]"),
        ("here", "text", "and must be floating point [12, 3]"),
        ("here", "classes", "are float32 [12, 4], and must be floating point [12, 3]"),
    ],
)
def test_a_broken_engine_has_no_figures_and_never_ships(
    stand: Stand, open_bench: OpenBench, kind: str, told: str
) -> None:
    files = write(stand.folder, int8=kind, fp32="sound")
    events = RecordedEvents()
    measured = stand.measure(files, open_bench(files), events)
    assert told in measured.unusable["int8"].reason
    assert measured.unusable["int8"].reason in events.warnings
    assert measured.engine_accuracy("int8") is None and measured.engine_latency("int8") is None
    assert set(measured.confusion_by_engine) == {"fp32"}
    assert not (stand.folder / "logits-int8.npy").exists()
    record = gate(GENEROUS, measured, ["int8", "fp32"])
    assert (record.shipped, record.verdict.outcome) == ("fp32", Outcome.PASSED)
    (warning,) = record.verdict.warnings
    assert "The logits of the INT8 engine for cpu" in warning and told in warning
    with pytest.raises(DataError, match="No engine for cpu can ship as INT8") as refused:
        gate(GENEROUS, measured, ["int8"])
    assert told in refused.value.problem


@pytest.mark.parametrize("where", ["here", "device"])
def test_where_no_engine_is_sound_there_is_no_measurement(
    stand: Stand, open_bench: OpenBench
) -> None:
    files = write(stand.folder, int8="nan", fp32="inf")
    with pytest.raises(DataError, match="No engine for cpu can be judged or ship") as refused:
        stand.measure(files, open_bench(files), RecordedEvents())
    for name in ("INT8", "FP32"):
        assert f"The logits of the {name} engine for cpu are not finite" in refused.value.problem


@pytest.mark.parametrize("where", ["device"])
def test_outputs_that_are_no_array_are_refused_by_the_agent(
    stand: Stand, open_bench: OpenBench
) -> None:
    files = write(stand.folder, fp32="text")
    with pytest.raises(DataError, match="outputs are no logits"):
        stand.measure(files, open_bench(files), RecordedEvents())


@pytest.mark.parametrize("where", ["here", "device"])
def test_a_broken_teacher_is_not_timed_nor_is_a_broken_alternative(
    stand: Stand, open_bench: OpenBench
) -> None:
    files = write(stand.folder, teacher="nan", fp32="sound", static="nan", minmax="sound")
    measured = stand.measure(files, open_bench(files), RecordedEvents())
    assert set(measured.unusable) == {"teacher", "static"}
    assert measured.latency is not None
    assert [row.engine for row in measured.latency.rows] == ["fp32", "minmax"]
    assert [row.label for row in measured.ledger][-1] == "MINMAX student"
    check = gate(Budgets(speedup_over_teacher=2.0), measured, ["fp32"]).verdict.checks[0]
    assert check.outcome is Outcome.INCONCLUSIVE


@pytest.mark.parametrize("where", ["here"])
def test_an_engine_of_a_broken_onnx_file_is_unusable_whatever_it_answers(
    stand: Stand, open_bench: OpenBench
) -> None:
    files = write(stand.folder, fp32="sound")
    source = stand.folder / "broken.onnx"
    source.write_bytes(broken_engines.engine("nan").replace(b"pixels", b"images"))
    with pytest.raises(DataError, match="the FP32 ONNX file are not finite"):
        stand.measure(files, open_bench(files), RecordedEvents(), source)
    with pytest.raises(DataError, match="the FP32 ONNX file are not finite"):
        stand.measure(files, None, RecordedEvents(), source)


@pytest.mark.parametrize("where", ["here"])
def test_an_fp16_engine_is_told_to_overflow(stand: Stand, open_bench: OpenBench) -> None:
    files = write(stand.folder, fp16="half", fp32="sound")
    measured = stand.measure(files, open_bench(files), RecordedEvents())
    reason = measured.unusable["fp16"].reason
    assert "FP16 engine for cpu are not finite for 12 of 12 images" in reason
    assert "activations exceed 65,504, FP16's largest finite value. Ship FP32 or INT8" in reason
    assert "`tmkd-deploy explain RUN --target cpu --precision fp16`" in reason


@pytest.mark.parametrize("where", ["here"])
def test_an_engine_that_never_varies_is_judged_with_a_warning(
    stand: Stand, open_bench: OpenBench
) -> None:
    files = write(stand.folder, int8="constant")
    measured = stand.measure(files, open_bench(files), RecordedEvents())
    assert measured.unusable == {}
    (warning,) = gate(GENEROUS, measured, ["int8"]).verdict.warnings
    assert warning == "The INT8 engine answers class red for every image of the test split."


class Stranger:
    """Stands in for a device that sends any file as the logits; a real one cannot be made to."""

    def __init__(self, content: bytes) -> None:
        self._content = content

    def upload(self, path: Path) -> str:
        return path.name

    def request(self, name: str, **arguments: object) -> dict[str, object]:
        return {"logits": "0" * 64}

    def download(self, sha256: str, path: Path) -> None:
        path.write_bytes(self._content)


def npy(header: str) -> bytes:
    text = header.encode()
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"no array",
        npy("{'descr': '<f4', 'fortran_order': False, 'shape': (4000000000, 3)}\n"),
        npy("{'descr': '|O', 'fortran_order': False, 'shape': (12, 3)}\n"),
        npy("{'descr': \n"),
        npy("("),
    ],
)
def test_a_file_of_a_device_that_is_no_array_is_refused(stand: Stand, content: bytes) -> None:
    files = write(stand.folder, fp32="sound")
    images = stand.folder / "images.npy"
    np.save(images, stand.data.images("test"))
    device: Any = Stranger(content)
    bench = DeviceBench(under_test(files), {"test": images}, stand.recipe.measure, device)
    with pytest.raises(DataError, match="logits for the FP32 student cannot be read"):
        stand.measure(files, bench, RecordedEvents())


@pytest.mark.parametrize("found", [np.zeros((3, 2)), np.zeros((2, 3), np.float16)])
def test_checked_logits_are_float32_and_cannot_be_changed(found: np.ndarray) -> None:
    images = [str(number) for number in range(len(found))]
    logits = Logits([found[:1], found[1:]], of="a", images=images, classes=found.shape[1])
    assert logits.values.dtype == np.float32 and logits.values.shape == found.shape
    with pytest.raises(ValueError, match="read-only"):
        logits.values[0, 0] = np.nan


@pytest.mark.parametrize(
    ("answers", "told"),
    [
        ([], "no common shape"),
        ([np.zeros((1, 3)), np.zeros((1, 2))], "no common shape"),
        ([np.zeros((1, 3))], "float64 [1, 3]"),
        ([np.zeros(6)], "float64 [6]"),
        ([np.full((2, 3), 1e300)], "not finite for 2 of 2 images, the first being 'a.png'"),
        ([np.zeros((2, 3), bool)], "bool [2, 3]"),
        ([np.zeros((2, 3), complex)], "complex128 [2, 3]"),
        ([np.full((2, 3), None)], "object [2, 3]"),
    ],
)
def test_what_is_no_array_of_finite_logits_is_refused(answers: list[np.ndarray], told: str) -> None:
    with pytest.raises(LogitsError) as refused:
        Logits(answers, of="a", images=["a.png", "b.png"], classes=3)
    assert told in refused.value.problem
