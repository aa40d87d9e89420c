"""A lock that admits one run at a time to a device."""

from __future__ import annotations

import fcntl
import json
import os
import signal
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from tmkd_deploy.agent.agent_errors import BUSY, AgentError
from tmkd_deploy.agent.transport.request_fields import field, optional

if TYPE_CHECKING:
    from tmkd_deploy.agent.transport.context import Context

_TAKEOVER_SECONDS = 5.0


def lock(request: dict[str, Any], context: Context) -> dict[str, Any]:
    """Lock the device for `owner` until this process ends.

    A holder with the same name is an earlier connection of the same run, not yet aware that it was
    lost; it is ended. With `force`, so is any other holder.

    Raises:
        AgentError: `busy`; it names the holder.
    """
    owner = field(request, "owner", str)
    force = optional(request, "force", bool) or False
    if context.lock_file is None:
        context.lock_file = _take(context.folder / "lock", owner, force)
    return {}


def _take(path: Path, owner: str, force: bool) -> TextIO:
    file = path.open("a+", encoding="utf-8")
    if not _try(file):
        holder = _holder(path)
        if not (force or holder.get("owner") == owner) or not _end(holder.get("pid"), file):
            file.close()
            raise AgentError(
                BUSY,
                f"The device is in use by {holder.get('owner', 'another run')}"
                f"{_since(holder.get('since'))}.",
                advice="Wait for that run to finish, or stop it where it was started.",
            )
    file.truncate(0)
    json.dump({"owner": owner, "since": time.time(), "pid": os.getpid()}, file)
    file.flush()
    return file


def _try(file: TextIO) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _holder(path: Path) -> dict[str, Any]:
    try:
        holder = json.loads(path.read_text(encoding="utf-8"))
    except ValueError:  # it is being written right now
        return {}
    return holder if isinstance(holder, dict) else {}


def _since(moment: Any) -> str:
    if not isinstance(moment, float):
        return ""
    return time.strftime(", since %Y-%m-%d %H:%M:%S on its clock", time.localtime(moment))


def _end(pid: Any, file: TextIO) -> bool:
    """End the agent that holds the lock and take it over; returns whether that worked.

    A dying agent has no command line any more but may still hold the lock, so wait for it too.
    """
    for stop in (signal.SIGTERM, signal.SIGKILL):
        if isinstance(pid, int) and _is_agent(pid):
            try:
                os.kill(pid, stop)
            except ProcessLookupError:
                pass
            except PermissionError:
                return False
        deadline = time.monotonic() + _TAKEOVER_SECONDS
        while time.monotonic() < deadline:
            if _try(file):
                return True
            time.sleep(0.05)
    return False


def _is_agent(pid: int) -> bool:
    try:
        return b"tmkd" in Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False
