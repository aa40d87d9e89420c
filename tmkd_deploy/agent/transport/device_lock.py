"""A lock that admits one run at a time to a machine, whichever account it comes from.

It is a listening socket in Linux's abstract namespace, rather than a file. A file in a home is not
shared between accounts. One in /tmp or /run/lock would be, but `fs.protected_regular` forbids to
open it for writing where another account created it, private temporary folders hide it, cleaners
delete it while it is held, and anybody could write a name and a process into it. An abstract
address needs no permissions, exists once per network namespace (a container with its own is a
machine of its own), and disappears with its holder, even if that is killed. Above all the kernel
vouches for who holds it, so that no process is ended because of what a file says. Any account can
hold the address forever, as it could any lock that all accounts share; the error then names it.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import pwd
import signal
import socket
import struct
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from tmkd_deploy.agent.agent_errors import BUSY, AgentError
from tmkd_deploy.agent.transport.request_fields import field, optional

if TYPE_CHECKING:
    from tmkd_deploy.agent.transport.context import Context

# Set by tests, for which one machine stands in for many.
NAME = "TMKD_DEPLOY_LOCK_NAME"
_DEFAULT_NAME = "tmkd-deploy-device"
_TAKEOVER_SECONDS = 5.0
_ANSWER_SECONDS = 2.0
_SECONDS_BETWEEN_TRIES = 0.05
_LONGEST_ANSWER = 4096
_LONGEST_OWNER = 200
_LISTENING = 1 << 16  # __SO_ACCEPTCON among the flags in /proc/net/unix


class _Holder(NamedTuple):
    """A process and its user, of which the kernel is the source, and the run that it claims."""

    pid: int
    uid: int
    owner: str | None
    since: float | None


def lock(request: dict[str, Any], context: Context) -> dict[str, Any]:
    """Lock the device for `owner` until this process ends.

    A holder of the same account and name is an earlier connection of the same run, not yet aware
    that it was lost; it is ended. With `force`, so is any other holder that this account may end.

    Raises:
        AgentError: `busy`; it names the holder.
    """
    owner = field(request, "owner", str)[:_LONGEST_OWNER]
    force = optional(request, "force", bool) or False
    if context.device_lock is None:
        context.device_lock = _take(context.folder / "lock", owner, force)
    return {}


def _take(record: Path, owner: str, force: bool) -> socket.socket:
    """The lock. `record` tells later connections of this account which run holds it, at once."""
    asked_to_end: set[int] = set()
    held = _try()
    until = time.monotonic() + _TAKEOVER_SECONDS
    while held is None:
        holder = _ask(record)
        if holder is not None and holder.owner is not None:
            mine = holder.owner == owner and holder.uid == os.geteuid()
            if not (force or mine):
                raise _busy(holder)
            first = holder.pid not in asked_to_end
            if not _end(holder.pid, signal.SIGTERM if first else signal.SIGKILL):
                raise _busy(holder)
            if first:
                asked_to_end.add(holder.pid)
                until = time.monotonic() + 2 * _TAKEOVER_SECONDS
            held = _wait(_TAKEOVER_SECONDS)
        else:
            # it is being taken or released right now, or its process hangs
            held = _wait(_SECONDS_BETWEEN_TRIES)
        if held is None and time.monotonic() > until:
            raise _busy(holder)
    claim = {"owner": owner, "since": time.time(), "pid": os.getpid()}
    with contextlib.suppress(OSError):  # the disk may be full, which `clean` may yet change
        record.write_text(json.dumps(claim), encoding="utf-8")
    threading.Thread(target=_answer, args=(held, json.dumps(claim)), daemon=True).start()
    return held


def _address() -> str:
    return "\0" + (os.environ.get(NAME) or _DEFAULT_NAME)


def _try() -> socket.socket | None:
    """The lock, if nobody holds it."""
    held = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        held.bind(_address())
        held.listen(8)
    except OSError as error:
        held.close()
        if error.errno != errno.EADDRINUSE:
            raise
        return None
    return held


def _wait(seconds: float) -> socket.socket | None:
    """The lock, if it is released within this time."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        time.sleep(_SECONDS_BETWEEN_TRIES)
        held = _try()
        if held is not None:
            return held
    return None


def _answer(held: socket.socket, claim: str) -> None:
    """Tell whoever connects which run holds the lock, until it is shut down."""
    with contextlib.suppress(OSError):
        while True:
            connection, _ = held.accept()
            with connection:
                connection.setblocking(False)
                with contextlib.suppress(OSError):
                    connection.send(claim.encode("utf-8"))


def _ask(record: Path) -> _Holder | None:
    """Who holds the lock: as its process tells, or as `record` says of just that process.

    A process that swaps, or is dying, may not answer; a run then still finds its own connection.
    """
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(_ANSWER_SECONDS)
        try:
            connection.connect(_address())
            peer = connection.getsockopt(
                socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i")
            )
        except OSError:
            return None
        pid, uid, _ = struct.unpack("3i", peer)
        owner, since = _claim(_recorded(record) if uid == os.geteuid() else "", pid)
        if owner is None:
            owner, since = _claim(_received(connection), pid)
        return _Holder(pid, uid, owner, since)


def _recorded(record: Path) -> str:
    try:
        return record.read_text(encoding="utf-8")
    except (OSError, ValueError):
        return ""


def _received(connection: socket.socket) -> str:
    try:
        return connection.recv(_LONGEST_ANSWER).decode("utf-8", "replace")
    except OSError:
        return ""


def _claim(text: str, pid: int) -> tuple[str | None, float | None]:
    """The owner and the time that a holder with this process id claims."""
    try:
        claim = json.loads(text)
        if claim["pid"] != pid:
            return None, None
        return str(claim["owner"])[:_LONGEST_OWNER], float(claim["since"])
    except (ValueError, KeyError, TypeError, RecursionError, OverflowError):
        return None, None


def _busy(holder: _Holder | None) -> AgentError:
    if holder is None:
        who = "another run"
    elif holder.owner is None:
        who = f"process {holder.pid} of the account {_account(holder.uid)}, which does not answer"
    elif holder.uid == os.geteuid():
        who = holder.owner + _since(holder.since)
    else:
        who = f"{holder.owner}{_since(holder.since)}, by the account {_account(holder.uid)}"
    return AgentError(
        BUSY,
        f"The device is in use by {who}.",
        advice="Wait for that run to finish, or stop it where it was started.",
    )


def _account(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:  # as in containers
        return str(uid)


def _since(moment: float | None) -> str:
    try:
        when = time.localtime(moment)
    except (ValueError, OverflowError, OSError):
        return ""
    return time.strftime(", since %Y-%m-%d %H:%M:%S on its clock", when)


def _end(pid: int, stop: int) -> bool:
    """Ask the process that holds the lock to end; returns whether that was possible.

    Its id may have been passed on to another process since it took the lock, which the kernel
    does not tell: only a process that has the lock's socket open is asked.
    """
    try:
        if _has_open(pid, _inodes()):
            os.kill(pid, stop)
    except (ProcessLookupError, FileNotFoundError):  # it has just ended
        pass
    except PermissionError:
        return False
    return True


def _inodes() -> set[str]:
    """The links, in a process's folder of open files, to the socket at the lock's address."""
    at = "@" + _address()[1:]
    lines = Path("/proc/net/unix").read_text(encoding="utf-8", errors="replace").splitlines()
    rows = (line.split(maxsplit=7) for line in lines[1:])
    return {
        f"socket:[{row[6]}]"
        for row in rows
        if len(row) == 8 and row[7] == at and int(row[3], 16) & _LISTENING
    }


def _has_open(pid: int, links: set[str]) -> bool:
    for path in Path(f"/proc/{pid}/fd").iterdir():
        try:
            if os.readlink(str(path)) in links:
                return True
        except FileNotFoundError:  # closed in the meantime
            continue
    return False
