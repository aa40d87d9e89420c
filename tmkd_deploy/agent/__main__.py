"""The agent's life: say hello, answer one request after another, end when the host does."""

from __future__ import annotations

import json
import os
import platform
import signal
import sys
import threading
import time
import traceback
from pathlib import Path
from typing import Any

from tmkd_deploy.agent.agent_errors import (
    ENVIRONMENT,
    OUT_OF_MEMORY,
    REQUEST,
    AgentError,
    HostDisconnectedError,
    from_os_error,
)
from tmkd_deploy.agent.child_processes import ChildProcesses
from tmkd_deploy.agent.transport.context import Context
from tmkd_deploy.agent.transport.dispatch import handle
from tmkd_deploy.agent.transport.reader import Reader
from tmkd_deploy.agent.transport.writer import Writer

_HEARTBEAT_SECONDS = 5.0
_SECONDS_TO_FINISH = 0.3
_STOPS = {signal.SIGINT, signal.SIGTERM, signal.SIGHUP}
_INSTALL = {
    "numpy": "sudo apt-get install python3-numpy",
    "onnxruntime": "python3 -m pip install --user onnxruntime",
    "tensorrt": "sudo apt-get install python3-libnvinfer (it is part of JetPack)",
    "tensorrt_rtx": "python3 -m pip install --user tensorrt-rtx-cu13",
}


def main() -> None:
    """Serve the host at the other end of standard input and output, and never return."""
    # What libraries print goes to standard error; answers have a copy of standard output alone.
    writer = Writer(os.dup(1))
    os.dup2(2, 1)
    children = ChildProcesses()
    # Blocked here, and so in every thread, and taken by one that waits for nothing else: Python's
    # own handlers would wait for whatever native code the main thread is in.
    signal.pthread_sigmask(signal.SIG_BLOCK, _STOPS)
    _start_thread(lambda: children.exit_with_all(128 + signal.sigwait(_STOPS)))
    try:
        folder = _work_folder()
    except OSError as error:
        writer.error(from_os_error(error))
        sys.exit(1)

    def on_disconnect() -> None:
        children.kill_all()
        time.sleep(_SECONDS_TO_FINISH)  # for what has arrived to be written
        children.exit_with_all(0)

    context = Context(folder, writer, Reader(sys.stdin.buffer, on_disconnect), children)
    _start_thread(lambda: _send_heartbeats(writer, children))
    try:
        _serve(context)
    except HostDisconnectedError:
        children.exit_with_all(0)


def _work_folder() -> Path:
    """The agent's folder, as only its user may read it.

    Raises:
        OSError: it cannot be made.
    """
    folder = Path(
        os.environ.get("TMKD_DEPLOY_AGENT_HOME") or os.path.expanduser("~/.cache/tmkd-deploy/agent")  # noqa: PTH111 - without a home, too
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
        request = json.loads(line.decode("utf-8"))
    except ValueError as error:
        raise AgentError(REQUEST, f"The host sent a line that is not JSON: {error}.") from error
    if not isinstance(request, dict) or type(request.get("id")) is not int:
        raise AgentError(REQUEST, "The host sent a request without a number.")
    return request


def _to_agent_error(error: Exception) -> AgentError:
    if isinstance(error, AgentError):
        return error
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
        f"The agent failed in a way that nobody foresaw: {type(error).__name__}: {error}.",
        advice="Please report this, with what the agent wrote to its standard error.",
    )


def _send_heartbeats(writer: Writer, children: ChildProcesses) -> None:
    """Tell the host, while a request is at work, that this process lives."""
    try:
        while True:
            time.sleep(_HEARTBEAT_SECONDS)
            request = writer.request
            if request is not None:
                writer.send("heartbeat", id=request)
    except HostDisconnectedError:
        children.exit_with_all(0)


def _start_thread(work: Any) -> None:
    threading.Thread(target=work, daemon=True).start()


if __name__ == "__main__":
    main()
