"""The programs that the agent starts; none outlives it."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import subprocess
import threading
from pathlib import Path
from typing import Callable, NamedTuple, NoReturn

from tmkd_deploy.agent.agent_errors import (
    ENVIRONMENT,
    OUT_OF_MEMORY,
    AgentError,
    HostDisconnectedError,
)

_PR_SET_PDEATHSIG = 1


class CompletedProgram(NamedTuple):
    """A program's exit status, negative if a signal ended it, and everything it printed."""

    returncode: int
    output: str


class ChildProcesses:
    """The running process groups. After `kill_all` no more can be started."""

    def __init__(self) -> None:
        self._groups: set[int] = set()
        self._lock = threading.Lock()
        self.ended = False

    def start(self, argv: list[str]) -> subprocess.Popen[str]:
        """Start a program in its own process group, with both output streams in one pipe."""
        with self._lock:
            if self.ended:
                raise HostDisconnectedError
            process = subprocess.Popen(
                argv,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                encoding="utf-8",
                errors="replace",
                start_new_session=True,
                # The kernel ends it even if the out-of-memory killer takes the agent.
                preexec_fn=die_with_agent,  # noqa: PLW1509 - two system calls, no locks
            )
            self._groups.add(process.pid)
        return process

    def end(self, process: subprocess.Popen[str]) -> None:
        """Kill what is left of a program's process group."""
        with self._lock:
            _kill(process.pid)
            self._groups.discard(process.pid)
        process.wait()

    def exit_with_all(self, status: int) -> NoReturn:
        """Kill every group and exit at once, whatever the other threads are doing."""
        self.kill_all()
        os._exit(status)

    def kill_all(self) -> None:
        """Kill every group, and refuse to start more."""
        with self._lock:
            self.ended = True
            for group in self._groups:
                _kill(group)


def run(
    argv: list[str],
    children: ChildProcesses,
    timeout_s: float,
    each_line: Callable[[str], None] | None = None,
) -> CompletedProgram:
    """Run a program to its end; `each_line` is called with every line as it arrives.

    Raises:
        AgentError: `environment`: it cannot be started, or timed out; `out_of_memory`: it was
            killed, as the out-of-memory killer does.
    """
    program = Path(argv[0]).name
    try:
        process = children.start(argv)
    except OSError as error:
        raise AgentError(
            ENVIRONMENT,
            f"The program {program} cannot be started: {error.strerror or error}.",
            argv[0],
            "On the device, check that it is installed and executable.",
        ) from error
    timed_out = threading.Event()

    def stop() -> None:
        timed_out.set()
        _kill(process.pid)

    timer = threading.Timer(timeout_s, stop)
    timer.daemon = True
    timer.start()
    lines: list[str] = []
    try:
        assert process.stdout is not None
        with process.stdout:
            for line in process.stdout:
                lines.append(line)
                if each_line is not None:
                    each_line(line.rstrip("\n"))
        process.wait()
    finally:
        timer.cancel()
        children.end(process)
    if children.ended:
        raise HostDisconnectedError
    if timed_out.is_set():
        raise AgentError(
            ENVIRONMENT,
            f"The program {program} did not finish within {timeout_s:.0f} seconds and was stopped.",
            argv[0],
            "On the device, check what else is running, then try again.",
        )
    if process.returncode == -signal.SIGKILL:
        raise AgentError(
            OUT_OF_MEMORY,
            f"The program {program} was killed, most likely because the device ran out of memory.",
            argv[0],
            "Close other programs on the device (a desktop takes about 1 GB), add swap space, or "
            "lower the workspace; `sudo dmesg` shows what was killed.",
        )
    return CompletedProgram(process.returncode, "".join(lines))


def _kill(group: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(group, signal.SIGKILL)


_libc = ctypes.CDLL(None)


def die_with_agent() -> None:
    """Run in a new process before its program starts: have the kernel kill it with the agent."""
    signal.pthread_sigmask(signal.SIG_SETMASK, ())  # the agent's threads block some
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
