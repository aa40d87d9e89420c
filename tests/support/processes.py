"""The processes of a session, as /proc shows them."""

from __future__ import annotations

import time
from pathlib import Path


def members(session: int) -> dict[int, str]:
    """The living processes of a session, by number, with their command lines."""
    found = {}
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            state, _, _, its_session = (entry / "stat").read_text().rpartition(")")[2].split()[:4]
            if int(its_session) == session and state not in ("Z", "X"):
                command = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode().strip()
                found[int(entry.name)] = command
        except (OSError, ValueError):  # it has ended meanwhile
            continue
    return found


def await_end_of_session(session: int, patience: float) -> list[str]:
    """The command lines of what is left of a session after at most `patience` seconds."""
    until = time.monotonic() + patience
    while left := members(session):
        if time.monotonic() > until:
            return sorted(left.values())
        time.sleep(0.01)
    return []
