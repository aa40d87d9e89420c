"""One process at a time in a run folder."""

from __future__ import annotations

import contextlib
import datetime
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

from tmkd_deploy.errors import BusyError

_LOCK = ".lock"


@contextlib.contextmanager
def only_process_in(folder: Path) -> Iterator[None]:
    """Hold `folder` for this process; the operating system lets go of it when the process ends.

    Raises:
        BusyError: another process holds it; its number and start are named.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / _LOCK).open("a+") as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            stream.seek(0)
            owner = stream.read().strip() or "another process"
            raise BusyError(
                f"This run folder is in use by {owner}.",
                where=str(folder),
                advice="Wait for it to finish, stop it, or choose another folder with --runs.",
            ) from None
        stream.seek(0)
        stream.truncate()
        now = datetime.datetime.now().astimezone().isoformat(timespec="seconds")
        stream.write(f"process {os.getpid()}, which started at {now}")
        stream.flush()
        yield
