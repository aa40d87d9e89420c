"""What a device sends, what an agent is asked, and how a device is named."""

from __future__ import annotations

import functools
import json
import os
import shlex
from io import BytesIO
from pathlib import Path
from typing import Any
from unittest import mock

from hypothesis import strategies as st
from invariants import ViolatedError, command
from mutations import JSON_NOISE, TEXTS, mutated, trees

from fuzzed.target import Attempts, Target, agent_errors, tmkd_errors

HELLO = {"tmkd": 1, "type": "hello", "python": "3.10.4", "machine": "aarch64", "pid": 7, "time": 1.0}
SHA = "ab" * 32
ENGINE_BYTES = b"engine"


@functools.cache
def _probed() -> Any:
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
        "gpu": {"name": "Orin", "sm": "87"},
        "dla_cores": 0,
        "power_mode": {"id": 0, "name": "15W"},
    }
    return json.loads(json.dumps({**info, **board}))


@functools.cache
def _timed() -> Any:
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
        timing.Settings(warmup_seconds=0.01, min_runs=4, min_seconds=0.01),
        mock.Mock(),
        SystemMonitor(),
    )
    found["blocks"]["fp32"] = [each[:2] for each in found["blocks"]["fp32"][:3]]
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


def _script(task: str) -> list[dict[str, Any]]:
    """What a sound device sends for a task, in order."""
    chunk = {"tmkd": 1, "type": "chunk", "offset": 0, "data": "ZW5naW5l"}
    ready = {"tmkd": 1, "type": "ready", "offset": 0}
    if task == "doctor":
        return [HELLO, *_said(1), _result(1, _probed())]
    if task == "latency":
        done = [_result(number, {"sha256": SHA, "bytes": 6}) for number in (1, 2)]
        return [HELLO, {**ready, "id": 1}, *done, *_said(3), _result(3, _timed())]
    if task == "logits":
        done = [_result(number, {"sha256": SHA, "bytes": 6}) for number in (1, 2)]
        answers = [_result(3, {"logits": SHA}), {**chunk, "id": 4}, _result(4, {"bytes": 6})]
        return [HELLO, *done, *_said(3), *answers]
    if task == "refused":
        return [HELLO, *_said(1), _error(1)]
    sidecar = {"dla": {"core": None, "gpu_fallback_layers": ["a"]}, "build": {}}
    built = {"engine": SHA, "bytes": 6, "sidecar": sidecar, "layers": None, "log": SHA, "reused": False}
    return [
        *(HELLO, _result(1, _probed()), {**ready, "id": 2}, _result(2, {})),
        *(*_said(3), _result(3, built), {**chunk, "id": 4}, _result(4, {"bytes": 6})),
        *({**chunk, "id": 5}, _result(5, {"bytes": 6})),
    ]


TASKS = ["doctor", "latency", "logits", "refused", "build"]
NOISE = [
    *(b"", b"\n" * 50, b"welcome\n", b"\x1b[2J\x07", b'{"tmkd":', b'{"tmkd":1}', b'{"tmkd":1,}', b"\xff\n"),
    *(b'{"tmkd":' * 2000, b'{"tmkd":1,"type":"result","id":1}', b'{"tmkd":"\\ud800","type":"hello"}'),
    *(b"x" * 70_000, b'{"tmkd":1,"a":' + b"[" * 5000, b'{"tmkd":1,"type":"error","id":null}'),
    b'{"tmkd":1,"a":"' + b"y" * 1_100_000 + b'"}',
]


@st.composite
def _replies(draw: st.DrawFn) -> tuple[str, bytes]:
    """A task, and all that the device writes."""
    task = draw(st.sampled_from(TASKS))
    script = _script(task)
    how = draw(st.integers(0, 9))
    if how < 7:
        at = draw(st.integers(0, len(script) - 1) | st.just(len(script) - 1))
        script[at] = draw(trees(script[at]))
    elif how == 7:
        del script[draw(st.integers(0, len(script) - 1))]
    elif how == 8:
        script.insert(draw(st.integers(0, len(script))), draw(st.sampled_from(script)))
    lines = [json.dumps(each, separators=(",", ":")).encode() for each in script]
    for _ in range(draw(st.integers(0, 1)) if how != 9 else 1):
        lines.insert(draw(st.integers(0, len(lines))), draw(st.sampled_from(NOISE)))
    content = b"\n".join(lines) + b"\n"
    return task, draw(mutated(content)) if draw(st.integers(0, 7)) == 0 else content


class _Recorded:
    """A route to a program that takes the handshake and then writes what was recorded."""

    def __init__(self, answers: Path) -> None:
        from tmkd_deploy.devices.payload import agent_zip, handshake

        self._taken = len(handshake(agent_zip()))
        self._answers = answers

    def command(self) -> list[str]:
        written = shlex.quote(str(self._answers))
        return ["sh", "-c", f"head -c {self._taken} >/dev/null; cat {written}; exec 1>&-; cat >/dev/null"]

    def explain(self, code: int, stderr: str, *, greeted: bool) -> Any:
        from tmkd_deploy.devices.routes import agent_exited

        return agent_exited("recorded", code, stderr)


def _try_replies(case: tuple[str, bytes], folder: Path) -> Attempts:
    from tmkd_deploy.devices import device as devices

    task, content = case
    answers = folder / "answers"
    answers.write_bytes(content)
    patched = mock.patch.object(devices, "LocalRoute", lambda: _Recorded(answers))

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
    from tmkd_deploy.records.measurements import Latency
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
    bench = DeviceBench(tested, images, Measure(threads=1), device)
    if task == "logits":
        found = bench.logits("fp32")
        if not (found.ndim == 2 and len(found) == 2 and np.isfinite(found).all()):
            raise ViolatedError("meaning", "logits are accepted that are none", "measure/bench.py")
        return
    latency: Latency = bench.latency(1)
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


REQUESTS: list[dict[str, Any]] = [
    {"id": 1, "do": "probe"},
    {"id": 1, "do": "lock", "owner": "me", "force": False},
    {"id": 1, "do": "receive", "sha256": SHA, "bytes": 6},
    {"id": 1, "do": "fetch", "sha256": "ENGINE", "offset": 0},
    {"id": 1, "do": "clean"},
    {
        **{"id": 1, "do": "build", "runtime": "onnxruntime", "onnx": "ENGINE", "precision": "fp32"},
        **{"image_size": 8, "input": "pixels", "typing": "strong", "workspace_mb": 64},
        **{"dla_core": None, "compute_capability": None},
    },
    {
        **{"id": 1, "do": "predict", "runtime": "onnxruntime", "engine": "ENGINE"},
        **{"images": "IMAGES", "threads": 1, "precise_int8": None},
    },
    {
        **{"id": 1, "do": "measure", "images": "IMAGES"},
        "engines": [
            {"name": "fp32", "runtime": "onnxruntime", "engine": "ENGINE", "precise_int8": True}
        ],
        "settings": {"threads": 1, "warmup_seconds": 0.01, "min_runs": 2, "min_seconds": 0.01},
    },
]


@st.composite
def _requests(draw: st.DrawFn) -> list[bytes]:
    """Lines for an agent that holds its lock and the two files."""
    lines = []
    for _ in range(draw(st.integers(1, 2))):
        # `probe` looks at the whole machine, which takes long and depends on nothing in it
        request = draw(st.sampled_from(REQUESTS[1:]))
        if draw(st.integers(0, 9)) == 0:
            lines.append(draw(st.sampled_from(JSON_NOISE)))
            continue
        changed = draw(trees(request))
        _keep_short(changed)
        line = json.dumps(changed).encode()
        lines.append(draw(mutated(line)) if draw(st.integers(0, 9)) == 0 else line)
    return [*lines, draw(st.binary(max_size=8))]


def _keep_short(request: Any) -> None:
    """How long a measurement takes is the host's to say, so it is no subject here."""
    settings = request.get("settings") if isinstance(request, dict) else None
    if isinstance(settings, dict):
        for name, value in settings.items():
            if isinstance(value, int | float) and not isinstance(value, bool) and value > 2:
                settings[name] = type(value)(1)


def _try_requests(lines: list[bytes], folder: Path) -> Attempts:
    import hashlib
    import sys

    import numpy as np
    from colour_bundle import SIDE, colour_model

    from tmkd_deploy.agent import __main__ as agent
    from tmkd_deploy.agent.agent_errors import HostDisconnectedError
    from tmkd_deploy.agent.child_processes import ChildProcesses
    from tmkd_deploy.agent.inference import timing
    from tmkd_deploy.agent.transport.context import Context
    from tmkd_deploy.agent.transport.dispatch import handle
    from tmkd_deploy.agent.transport.reader import Reader
    from tmkd_deploy.agent.transport.writer import Writer

    if hasattr(timing, "_BURST_SECONDS"):
        timing._BURST_SECONDS = 0.01  # what `measure` takes at least
    for name in ("files", "results"):
        (folder / name).mkdir()
    stream = BytesIO()
    np.save(stream, np.zeros((1, SIDE, SIDE, 3), np.uint8))
    text = b"\n".join(lines) + b"\n"
    for name, content in ((b"ENGINE", colour_model()), (b"IMAGES", stream.getvalue())):
        digest = hashlib.sha256(content).hexdigest()
        (folder / "files" / digest).write_bytes(content)
        text = text.replace(name, digest.encode())
    with (folder / "sent").open("wb") as sent:
        writer = Writer(os.dup(sent.fileno()))
    context = Context(folder, writer, Reader(BytesIO(text), lambda: None), ChildProcesses())
    before = list(sys.path)

    def serve() -> None:
        try:
            handle({"id": 0, "do": "lock", "owner": "me"}, context)
            for _ in lines:
                try:
                    request = agent._read(context.reader.line())
                    value = handle(request, context)
                    context.writer.send("result", id=request["id"], value=value)
                except HostDisconnectedError:
                    break
                except agent_errors() as error:
                    context.writer.error(agent._to_agent_error(error))
        finally:
            if context.lock_file is not None:
                context.lock_file.close()
            context.writer._out.close()
            sys.path[:] = before

    yield serve


@st.composite
def _addresses(draw: st.DrawFn) -> str:
    valid = ["local", "ssh://me@orin:22", "ssh://[fe80::1%eth0]:22/", "ssh://a.b-c_d"]
    pieces = ["ssh://", "@", ":", "/", "-", "-oProxyCommand=id", " ", "\n", "[", "]", "%", "0", "65536"]
    pieces += ["$(id)", ";id", "\\", "\0", "٢٢", "é", "\x1b[2J", "..", "?", "#", "//"]
    text = draw(st.sampled_from(valid) | st.text(max_size=10) | st.sampled_from(TEXTS))
    for _ in range(draw(st.integers(0, 3))):
        at = draw(st.integers(0, min(len(text), 30)))
        text = text[:at] + draw(st.sampled_from(pieces)) + text[at + draw(st.integers(0, 2)) :]
    return text


def _try_address(text: str, folder: Path) -> Attempts:
    from tmkd_deploy.devices import address
    from tmkd_deploy.devices.address import SshAddress
    from tmkd_deploy.devices.ssh_route import SshRoute
    from tmkd_deploy.errors import RequestError

    def parse() -> None:
        found = address.parse(text)
        if address.parse(str(found)) != found:
            raise ViolatedError("meaning", f"{text!r} is printed as another address", "address.py")
        if isinstance(found, SshAddress):
            words = SshRoute(found).command()
            options = {"-T", "-o", "-F", "-p", "-l", "--"}
            if any(word.startswith("-") and word not in options for word in words):
                raise ViolatedError("meaning", f"{text!r} becomes an option", "ssh_route.py")

    yield parse

    def refused() -> None:
        try:
            address.parse(text)
        except RequestError:
            command("doctor", f"--device={text}")

    if "\0" not in text:
        yield refused


TARGETS = [
    Target(
        "agent replies",
        _replies,
        lambda: ("doctor", b"\n".join(json.dumps(each, separators=(",", ":")).encode() for each in _script("doctor")) + b"\n"),
        _try_replies,
        tmkd_errors,
        share=4,
        processes=True,
        needs=("onnx", "onnxruntime"),
    ),
    Target(
        "agent requests",
        _requests,
        lambda: [json.dumps(REQUESTS[6]).encode(), b""],
        _try_requests,
        agent_errors,
        share=4,
        processes=True,  # `build` asks which JetPack this is
        needs=("onnx", "onnxruntime"),
    ),
    Target("device addresses", _addresses, lambda: "local", _try_address, tmkd_errors, share=4),
]
