"""Opening engines by the name of their runtime, with the real runtimes of CPUs."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import get_args

import hostile_engines
import numpy as np
import pytest
from colour_bundle import COLOURS, SIDE, colour_model, solid
from onnx import helper

from tmkd_deploy.records.types import RuntimeName
from tmkd_deploy.runtime.engine_errors import EngineError, NoClassifierError, RejectedEngineError
from tmkd_deploy.runtime.onnx_check import UnsafeModelError
from tmkd_deploy.runtime.openvino_session import compile_model
from tmkd_deploy.runtime.runtimes import RUNTIMES, open_session
from tmkd_deploy.runtime.session_options import SessionOptions


@pytest.fixture(params=["onnxruntime", "openvino"])
def runtime(request: pytest.FixtureRequest) -> str:
    pytest.importorskip(request.param)
    return str(request.param)


def test_every_runtime_of_a_target_has_a_session() -> None:
    assert set(get_args(RuntimeName)) == set(RUNTIMES)


@pytest.mark.parametrize("batch", ["batch", 1])
def test_a_session_says_what_it_takes_and_takes_any_number(
    tmp_path: Path, runtime: str, batch: int | str
) -> None:
    file = tmp_path / "model.onnx"
    file.write_bytes(colour_model(batch=batch))
    images = np.stack([solid(colour) for colour in COLOURS])
    for engine in (file, file.read_bytes()):
        session = open_session(runtime, engine, SessionOptions())
        assert session.input_shape == (SIDE, SIDE, 3)
        assert session.classes == len(COLOURS)
        logits = session.infer(images)
        assert logits.shape == (3, 3) and logits.dtype == np.float32
        assert logits.argmax(axis=1).tolist() == [0, 1, 2]
        session.close()


def test_logits_are_the_callers_own_and_images_stay_as_they_are(runtime: str) -> None:
    session = open_session(runtime, colour_model(), SessionOptions())
    red = solid("red")[None]
    red.flags.writeable = False
    first = session.infer(red)
    kept = first.copy()
    # as from a camera that delivers BGR, an array of which nothing is contiguous
    turned = session.infer(red[:, ::-1, :, ::-1])
    assert turned.argmax() == COLOURS.index("blue")
    assert np.array_equal(first, kept) and np.array_equal(red[0], solid("red"))


def test_threads_may_share_a_session(runtime: str) -> None:
    session = open_session(runtime, colour_model(), SessionOptions())
    wrong: list[str] = []

    def classify(colour: str) -> None:
        for _ in range(200):
            if session.infer(solid(colour)[None]).argmax() != COLOURS.index(colour):
                wrong.append(colour)

    threads = [threading.Thread(target=classify, args=(colour,)) for colour in COLOURS]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_what_is_no_classifier_is_refused(runtime: str) -> None:
    for model in (
        colour_model(batch=4),
        hostile_engines.ending_with(
            [
                helper.make_node("ReduceMax", ["scores"], ["logits"], keepdims=0),
            ]
        ),
        hostile_engines.changed(lambda model: model.graph.output.add().CopyFrom(_floats())),
    ):
        with pytest.raises(NoClassifierError, match=r"it has .*u(int)?8"):
            open_session(runtime, model, SessionOptions())
    with pytest.raises(UnsafeModelError):
        open_session(runtime, b"no model", SessionOptions())
    with pytest.raises(UnsafeModelError, match="may never end"):
        open_session(runtime, hostile_engines.loop(), SessionOptions())
    with pytest.raises(RejectedEngineError, match=rf"{RUNTIMES[runtime].title} \d.* rejects"):
        broken = colour_model().replace(b"GlobalAveragePool", b"GlobalAverageFool")
        open_session(runtime, broken, SessionOptions())


def _floats() -> object:
    return helper.make_tensor_value_info("means", 1, None)


def test_an_engine_that_fails_says_so(runtime: str) -> None:
    session = open_session(runtime, colour_model(), SessionOptions())
    with pytest.raises(EngineError, match="The engine fails: "):
        session.infer(np.zeros((1, SIDE, SIDE + 1, 3), np.uint8))


def test_openvino_has_the_options_it_was_asked_for() -> None:
    openvino = pytest.importorskip("openvino")
    compiled = compile_model(colour_model(), threads=2)
    found = {
        name: compiled.get_property(name)
        for name in ("INFERENCE_NUM_THREADS", "NUM_STREAMS", "ENABLE_CPU_PINNING", "PERF_COUNT")
    }
    assert found == {
        "INFERENCE_NUM_THREADS": 2,
        "NUM_STREAMS": 1,
        "ENABLE_CPU_PINNING": False,
        "PERF_COUNT": "NO",
    }
    assert compiled.get_property("INFERENCE_PRECISION_HINT") == openvino.Type.f32


@pytest.mark.parametrize(
    ("engine", "match"),
    [
        (hostile_engines.circle, "needs what it or a later one computes"),
        (hostile_engines.own_tail, "needs what it or a later one computes"),
        (hostile_engines.future_opset, "an opset that cannot be"),
    ],
)
def test_openvino_never_sees_what_its_reader_would_not_end_on(
    engine: Callable[[], bytes], match: str
) -> None:
    with pytest.raises(UnsafeModelError, match=match):
        open_session("openvino", engine(), SessionOptions())


def test_openvino_reads_nothing_but_onnx(tmp_path: Path) -> None:
    openvino = pytest.importorskip("openvino")
    file = _written(tmp_path / "model.onnx", colour_model())
    openvino.save_model(openvino.Core().read_model(file), tmp_path / "model.xml")
    with pytest.raises(UnsafeModelError):
        open_session("openvino", tmp_path / "model.xml", SessionOptions())


def _written(file: Path, content: bytes) -> Path:
    file.write_bytes(content)
    return file


# The statistics that both runtimes collect by default go through these.
WATCHED = """
import sys
seen = []
def watch(event, arguments):
    writes = event == "open" and isinstance(arguments[1], str) and set(arguments[1]) & set("wax+")
    if event.startswith(("socket.", "subprocess.")) or writes:
        seen.append((event, arguments))
sys.addaudithook(watch)
from pathlib import Path
from tmkd_deploy.runtime.runtimes import open_session
from tmkd_deploy.runtime.session_options import SessionOptions
open_session(sys.argv[1], Path(sys.argv[2]), SessionOptions())
print(seen)
"""


def test_opening_an_engine_calls_nobody_and_writes_nothing(tmp_path: Path, runtime: str) -> None:
    file = _written(tmp_path / "model.onnx", colour_model())
    (tmp_path / "home").mkdir()
    environment = {**os.environ, "HOME": str(tmp_path / "home")}
    environment.pop("ORT_DISABLE_TELEMETRY")
    done = subprocess.run(
        [sys.executable, "-B", "-c", WATCHED, runtime, str(file)],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    assert (done.stdout, done.stderr) == ("[]\n", "")
    assert list((tmp_path / "home").rglob("*")) == []
