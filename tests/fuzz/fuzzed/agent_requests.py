"""What an agent is asked."""

from __future__ import annotations

import json
import os
from io import BytesIO
from pathlib import Path
from typing import Any

from hypothesis import strategies as st
from mutations import JSON_NOISE, mutated, trees

from fuzzed.target import Attempts, Target, agent_errors

SHA = "ab" * 32
REQUESTS: list[dict[str, Any]] = [
    {"id": 1, "do": "probe"},
    {"id": 1, "do": "lock", "owner": "me", "force": False},
    {"id": 1, "do": "receive", "sha256": SHA, "bytes": 6},
    {"id": 1, "do": "fetch", "sha256": "ENGINE", "offset": 0},
    {"id": 1, "do": "clean"},
    {
        **{"id": 1, "do": "build", "runtime": "onnxruntime", "onnx": "ENGINE", "precision": "fp32"},
        **{"height": 8, "width": 8, "input": "pixels", "typing": "strong", "workspace_mb": 64},
        **{"dla_core": None, "calibration": None, "compute_capability": None},
    },
    {
        **{"id": 1, "do": "predict", "runtime": "onnxruntime", "engine": "ENGINE"},
        **{"images": "IMAGES", "threads": 1, "precise_int8": None},
    },
    {
        **{"id": 1, "do": "find_installed", "runtime": "tensorrt", "onnx_sha256": SHA},
        **{"precision": "int8", "typing": "strong", "workspace_mb": 64, "dla_core": None},
    },
    {
        **{"id": 1, "do": "install", "runtime": "tensorrt", "onnx_sha256": SHA, "bundle": "a"},
        **{"precision": "int8", "typing": "strong", "workspace_mb": 64, "dla_core": None},
        "engine": "ENGINE",
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
            if context.device_lock is not None:
                context.device_lock.close()
            context.writer._out.close()
            sys.path[:] = before

    yield serve


TARGETS = [
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
]
