"""What a device sends to this machine."""

from __future__ import annotations

import base64
import functools
import hashlib
import io
import json
import shlex
from pathlib import Path
from typing import Any
from unittest import mock

from hypothesis import strategies as st
from invariants import ViolatedError, command
from mutations import mutated, trees

from fuzzed.target import Attempts, Target, tmkd_errors

CLASSES = 3

HELLO = {
    "tmkd": 1,
    "type": "hello",
    "python": "3.10.4",
    "machine": "aarch64",
    "pid": 7,
    "time": 1.0,
}
SHA = "ab" * 32
ENGINE_BYTES = b"engine"
BUILT_BYTES = b"built"


@functools.cache
def probed() -> Any:
    """The description of a Jetson: this machine's, with what a board has beside it."""
    import tempfile

    from tmkd_deploy.agent.telemetry.device_probe import probe

    with tempfile.TemporaryDirectory() as folder:
        info = probe({}, mock.Mock(folder=Path(folder)))
    board = {
        "machine": "aarch64",
        "model": "NVIDIA Jetson Orin Nano Developer Kit",
        "l4t": "36.4.0",
        "jetpack": "6.1",
        "tensorrt": "10.3.0",
        "trtexec": {"path": "/usr/src/tensorrt/bin/trtexec", "version": "10.3.0"},
        "cuda": "12.6",
        "gpu": {"name": "Orin", "sm": "87", "uuid": None, "memory_mb": None},
        "dla_cores": 0,
        "power_mode": {"id": 0, "name": "15W"},
    }
    return json.loads(json.dumps({**info, **board}))


@functools.cache
def timed() -> Any:
    """What an agent answers to `measure`."""
    import numpy as np
    from colour_bundle import SIDE, colour_model

    from tmkd_deploy.agent.inference import timing
    from tmkd_deploy.agent.telemetry.system_monitor import SystemMonitor
    from tmkd_deploy.runtime.onnxruntime_session import create_session

    class Opened:
        session = create_session(colour_model(), threads=1)

        def infer(self, images: Any) -> Any:
            return self.session.run(None, {"pixels": images})[0]

    found = timing.time_interleaved(
        {"fp32": Opened()},
        np.zeros((1, SIDE, SIDE, 3), np.uint8),
        timing.Settings(warmup_seconds=0.01, min_runs=20, min_seconds=0.01),
        mock.Mock(),
        SystemMonitor(),
    )
    found["blocks"]["fp32"] = [
        [round(ms, 2) + 0.01 for ms in each] for each in found["blocks"]["fp32"]
    ]
    return json.loads(json.dumps(found, default=str))


def _result(request: int, value: Any) -> dict[str, Any]:
    return {"tmkd": 1, "type": "result", "id": request, "value": value}


def _said(request: int) -> list[dict[str, Any]]:
    about = {"tmkd": 1, "id": request}
    return [
        {**about, "type": "progress", "done": 1, "total": 2, "unit": "bytes", "say": "so far"},
        {**about, "type": "say", "text": "a line"},
        {**about, "type": "warn", "text": "beware"},
        {**about, "type": "heartbeat"},
    ]


def _error(request: int) -> dict[str, Any]:
    words = {"code": "data", "problem": "It is so.", "where": "x", "advice": "Do this."}
    return {"tmkd": 1, "type": "error", "id": request, **words}


def _array() -> bytes:
    import numpy as np

    stream = io.BytesIO()
    np.save(stream, np.zeros((2, CLASSES), np.float32))
    return stream.getvalue()


def _sent(request: int, content: bytes) -> list[dict[str, Any]]:
    """The answer to `fetch`."""
    data = base64.b64encode(content).decode()
    size = {"tmkd": 1, "type": "size", "id": request, "bytes": len(content)}
    chunk = {"tmkd": 1, "type": "chunk", "id": request, "offset": 0, "data": data}
    return [size, chunk, _result(request, {"bytes": len(content)})]


def script(task: str) -> list[dict[str, Any]]:
    """What a sound device sends for a task, in order."""
    # it holds every file already, because all answers are there before the first question
    ready = {"tmkd": 1, "type": "ready", "offset": len(ENGINE_BYTES)}
    received = {"sha256": SHA, "bytes": len(ENGINE_BYTES)}
    if task == "doctor":
        return [HELLO, *_said(1), _result(1, probed())]
    if task == "latency":
        done = [_result(number, received) for number in (1, 2)]
        return [HELLO, {**ready, "id": 1}, *done, *_said(3), _result(3, timed())]
    if task == "logits":
        done = [_result(number, received) for number in (1, 2)]
        digest = hashlib.sha256(_array()).hexdigest()
        return [HELLO, *done, *_said(3), _result(3, {"logits": digest}), *_sent(4, _array())]
    if task == "refused":
        return [HELLO, *_said(1), _error(1)]
    digest = hashlib.sha256(BUILT_BYTES).hexdigest()
    sidecar = {"dla": {"core": None, "gpu_fallback_layers": ["a"]}, "build": {}}
    sidecar |= {"versions": {"runtime": "10.3.0"}, "device": {"sm": "87"}}
    built = {"engine": digest, "bytes": len(BUILT_BYTES), "sidecar": sidecar, "layers": None}
    built |= {"log": digest, "reused": False}
    return [
        *(HELLO, _result(1, probed()), {**ready, "id": 2}, _result(2, received)),
        *(*_said(3), _result(3, built), *_sent(4, BUILT_BYTES), *_sent(5, BUILT_BYTES)),
    ]


TASKS = ["doctor", "latency", "logits", "refused", "build"]
NOISE = [
    *(
        b"",
        b"\n" * 50,
        b"welcome\n",
        b"\x1b[2J\x07",
        b'{"tmkd":',
        b'{"tmkd":1}',
        b'{"tmkd":1,}',
        b"\xff\n",
    ),
    *(
        b'{"tmkd":' * 2000,
        b'{"tmkd":1,"type":"result","id":1}',
        b'{"tmkd":"\\ud800","type":"hello"}',
    ),
    *(b"x" * 70_000, b'{"tmkd":1,"a":' + b"[" * 5000, b'{"tmkd":1,"type":"error","id":null}'),
    b'{"tmkd":1,"a":"' + b"y" * 1_100_000 + b'"}',
]


@st.composite
def _replies(draw: st.DrawFn) -> tuple[str, bytes]:
    """A task, and all that the device writes."""
    task = draw(st.sampled_from(TASKS))
    sent = script(task)
    how = draw(st.integers(0, 9))
    if how < 7:
        at = draw(st.integers(0, len(sent) - 1) | st.just(len(sent) - 1))
        sent[at] = draw(trees(sent[at]))
    elif how == 7:
        del sent[draw(st.integers(0, len(sent) - 1))]
    elif how == 8:
        sent.insert(draw(st.integers(0, len(sent))), draw(st.sampled_from(sent)))
    lines = [json.dumps(each, separators=(",", ":")).encode() for each in sent]
    for _ in range(draw(st.integers(0, 1)) if how != 9 else 1):
        lines.insert(draw(st.integers(0, len(lines))), draw(st.sampled_from(NOISE)))
    content = b"\n".join(lines) + b"\n"
    return task, draw(mutated(content)) if draw(st.integers(0, 7)) == 0 else content


class Recorded:
    """A route to a program that takes the handshake and then writes what was recorded."""

    def __init__(self, answers: Path) -> None:
        from tmkd_deploy.devices.payload import agent_zip, handshake

        self._taken = len(handshake(agent_zip()))
        self._answers = answers

    def command(self) -> list[str]:
        written = shlex.quote(str(self._answers))
        return [
            "sh",
            "-c",
            f"head -c {self._taken} >/dev/null; cat {written}; exec 1>&-; cat >/dev/null",
        ]

    def explain(self, code: int, stderr: str, *, greeted: bool) -> Any:
        from tmkd_deploy.devices.routes import agent_exited

        return agent_exited("recorded", code, stderr)


def _try_replies(case: tuple[str, bytes], folder: Path) -> Attempts:
    from tmkd_deploy.devices import device as devices

    task, content = case
    answers = folder / "answers"
    answers.write_bytes(content)
    patched = mock.patch.object(devices, "LocalRoute", lambda: Recorded(answers))

    def doctor() -> None:
        with patched:
            command("doctor", "--device", "local")

    def bench() -> None:
        with patched:
            _on_device(task, folder)

    yield doctor if task == "doctor" else bench


def _on_device(task: str, folder: Path) -> None:
    from invariants import captured, of_text

    from tmkd_deploy.cli.progress import LineEvents
    from tmkd_deploy.devices.address import LocalAddress
    from tmkd_deploy.devices.device import Device

    with captured() as streams:
        try:
            with Device(LocalAddress(), LineEvents(), timeout=10.0) as device:
                _use(task, device, folder)
        finally:
            found = of_text(*streams())
    for violation in found:
        raise ViolatedError(violation.kind, violation.detail, "what a device says")


def _use(task: str, device: Any, folder: Path) -> None:
    import numpy as np

    from tmkd_deploy.engines.device_build import build_on_device
    from tmkd_deploy.events import SilentEvents
    from tmkd_deploy.measure.bench import DeviceBench, EngineUnderTest
    from tmkd_deploy.recipe.schema import Measure
    from tmkd_deploy.records.latency import Latency
    from tmkd_deploy.records.logits import Logits
    from tmkd_deploy.targets import catalog

    engine, images = folder / "fp32.onnx", folder / "images.npy"
    engine.write_bytes(ENGINE_BYTES)
    np.save(images, np.zeros((2, 4, 4, 3), np.uint8))
    out = folder / "out"
    out.mkdir(exist_ok=True)
    if task == "build":
        profile = catalog.get("jetson-orin-nano")
        built = build_on_device(device, profile, {"fp32": engine}, 4, None, out, SilentEvents())
        _readable(built)
        return
    if task == "refused":
        device.request("clean")
        return
    tested = {"fp32": EngineUnderTest("FP32", "onnxruntime", engine)}
    settings = Measure(threads=1, warmup_seconds=0.01, min_runs=20, min_seconds=0.01)
    bench = DeviceBench(tested, {"test": images}, settings, device)

    def checked(answers: Any) -> Logits:
        return Logits(answers, of="the FP32 engine", images=["a", "b"], classes=CLASSES)

    if task == "logits":
        checked(bench.answers("fp32", "test", 2))
        return
    latency: Latency = bench.latency(
        {"fp32": checked([np.zeros((2, CLASSES), np.float32)])}, "test", 1, {"fp32": None}
    )
    _readable(latency)


def _readable(record: Any) -> None:
    """A record that is published must be readable, and its numbers finite."""
    text = record.model_dump_json()
    try:
        again = type(record).model_validate_json(text)
    except ValueError as error:
        raise ViolatedError("meaning", f"an unreadable record is published: {error}") from error
    if again != record or "NaN" in text:
        raise ViolatedError("meaning", "a record is published that reads back as another")


TARGETS = [
    Target(
        "agent replies",
        _replies,
        lambda: (
            "doctor",
            b"\n".join(
                json.dumps(each, separators=(",", ":")).encode() for each in script("doctor")
            )
            + b"\n",
        ),
        _try_replies,
        tmkd_errors,
        share=4,
        processes=True,
        needs=("onnx", "onnxruntime"),
    ),
]
