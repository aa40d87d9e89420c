"""The agent's main loop: greet the host, serve its requests, and end when it disconnects."""

from __future__ import annotations

import json
import math
import os
import platform
import signal
import sys
import threading
import time
import traceback
from pathlib import Path
from typing import Any, Callable

from tmkd_deploy.agent.agent_errors import (
    ENVIRONMENT,
    OUT_OF_MEMORY,
    REQUEST,
    AgentError,
    HostDisconnectedError,
    from_engine_error,
    from_os_error,
)
from tmkd_deploy.agent.child_processes import ChildProcesses
from tmkd_deploy.agent.telemetry.versions import pip
from tmkd_deploy.agent.transport.context import Context
from tmkd_deploy.agent.transport.dispatch import handle
from tmkd_deploy.agent.transport.reader import Reader
from tmkd_deploy.agent.transport.writer import Writer
from tmkd_deploy.runtime.engine_errors import EngineError

_HEARTBEAT_SECONDS = 5.0
_GRACE_SECONDS = 0.3
_STOP_SIGNALS = {signal.SIGINT, signal.SIGTERM, signal.SIGHUP}
_INSTALL = {
    "numpy": "sudo apt-get install python3-numpy",
    "onnxruntime": f"{pip()} onnxruntime",
    "openvino": f"{pip()} openvino",
    "tensorrt": "sudo apt-get install python3-libnvinfer (it is part of JetPack; trtexec alone "
    "builds engines, but does not run them)",
    "tensorrt_rtx": f"{pip()} tensorrt-rtx-cu13",
}


def main() -> None:
    """Serve the host over standard input and output. It ends the process and does not return."""
    # Whatever libraries print goes to standard error; only answers go to standard output.
    writer = Writer(os.dup(1))
    os.dup2(2, 1)
    children = ChildProcesses()
    # Blocked in every thread, and taken by one that only waits for them: Python's own handlers
    # would have to wait for native code in the main thread to return.
    signal.pthread_sigmask(signal.SIG_BLOCK, _STOP_SIGNALS)
    _start_thread(lambda: children.exit_with_all(128 + signal.sigwait(_STOP_SIGNALS)))
    try:
        folder = _make_folder()
    except OSError as error:
        writer.error(from_os_error(error))
        sys.exit(1)

    def on_disconnect() -> None:
        children.kill_all()
        time.sleep(_GRACE_SECONDS)  # lets a transfer write what it has received
        children.exit_with_all(0)

    context = Context(folder, writer, Reader(sys.stdin.buffer, on_disconnect), children)
    _start_thread(lambda: _send_heartbeats(writer, children))
    try:
        _serve(context)
    except HostDisconnectedError:
        children.exit_with_all(0)


def _make_folder() -> Path:
    """Create the agent's folder, readable by its user only.

    Raises:
        OSError: it cannot be created.
    """
    folder = Path(
        os.environ.get("TMKD_DEPLOY_AGENT_HOME") or os.path.expanduser("~/.cache/tmkd-deploy/agent")  # noqa: PTH111 - also works without a home
    )
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    for name in ("files", "results"):
        (folder / name).mkdir(exist_ok=True)
    return folder


def _serve(context: Context) -> None:
    context.writer.send(
        "hello",
        python=platform.python_version(),
        machine=platform.machine(),
        pid=os.getpid(),
        time=time.time(),
        folder=str(context.folder),
    )
    while True:
        try:
            request = _read(context.reader.line())
            context.writer.request = request["id"]
            value = handle(request, context)
            context.writer.send("result", id=request["id"], value=value)
        except HostDisconnectedError:
            raise
        except Exception as error:
            context.writer.error(_to_agent_error(error))
        context.writer.request = None


def _read(line: bytes) -> dict[str, Any]:
    try:
        request = json.loads(line.decode("utf-8"), parse_constant=_finite, parse_float=_finite)
    except (ValueError, RecursionError) as error:
        raise AgentError(REQUEST, f"The host sent a line that is not JSON: {error}.") from error
    if not isinstance(request, dict) or type(request.get("id")) is not int:
        raise AgentError(REQUEST, "The host sent a request without an integer id.")
    return request


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"{text} is not a finite number")
    return number


def _to_agent_error(error: Exception) -> AgentError:
    if isinstance(error, AgentError):
        return error
    if isinstance(error, EngineError):  # while running; opening translates its own
        return from_engine_error(error)
    if isinstance(error, ImportError):
        name = (error.name or "").partition(".")[0]
        return AgentError(
            ENVIRONMENT,
            f"The device's Python ({sys.executable}) cannot import {name or 'a module'}: {error}.",
            advice=f"On the device, run: {_INSTALL[name]}"
            if name in _INSTALL
            else "Install it on the device for this Python.",
        )
    if isinstance(error, MemoryError):
        return AgentError(
            OUT_OF_MEMORY,
            "The device ran out of memory.",
            advice="Close other programs on the device, or add swap space.",
        )
    if isinstance(error, OSError):
        return from_os_error(error)
    traceback.print_exception(type(error), error, error.__traceback__)
    return AgentError(
        ENVIRONMENT,
        f"The agent hit an unexpected error: {type(error).__name__}: {error}.",
        advice="Please report this, with the traceback on the agent's standard error.",
    )


def _send_heartbeats(writer: Writer, children: ChildProcesses) -> None:
    """Send heartbeats while a request is being served."""
    try:
        while True:
            time.sleep(_HEARTBEAT_SECONDS)
            request = writer.request
            if request is not None:
                writer.send("heartbeat", id=request)
    except HostDisconnectedError:
        children.exit_with_all(0)


def _start_thread(target: Callable[[], Any]) -> None:
    threading.Thread(target=target, daemon=True).start()


if __name__ == "__main__":
    main()
