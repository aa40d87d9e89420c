"""One run at a time on a device, whoever started it."""

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

_SECONDS_TO_END = 5.0


def lock(request: dict[str, Any], context: Context) -> dict[str, Any]:
    """Take the device for `owner`, until this process ends.

    A holder of the same name is an earlier connection of the same run that has not noticed its end;
    it is ended, as any holder is with `force`.

    Raises:
        AgentError: `busy`, naming who holds the device.
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
                advice="Wait until that run has ended, or stop it where it was started.",
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
    except ValueError:  # it is being written at this moment
        return {}
    return holder if isinstance(holder, dict) else {}


def _since(moment: Any) -> str:
    if not isinstance(moment, float):
        return ""
    return time.strftime(", since %Y-%m-%d %H:%M:%S on its clock", time.localtime(moment))


def _end(pid: Any, file: TextIO) -> bool:
    """End an agent that holds the lock, and take it; whether that worked.

    One that is dying already has no name any more but may hold the lock yet, so it is waited for.
    """
    for stop in (signal.SIGTERM, signal.SIGKILL):
        if isinstance(pid, int) and _is_agent(pid):
            try:
                os.kill(pid, stop)
            except ProcessLookupError:
                pass
            except PermissionError:
                return False
        deadline = time.monotonic() + _SECONDS_TO_END
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
