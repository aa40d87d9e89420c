"""One process at a time in a run folder."""

from __future__ import annotations

import contextlib
import datetime
import fcntl
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

from tmkd_deploy.errors import BusyError, EnvironmentProblem
from tmkd_deploy.printable import printable

_LOCK = ".lock"
_LONGEST_OWNER = 200


@contextlib.contextmanager
def only_process_in(folder: Path) -> Iterator[None]:
    """Hold `folder` for this process; the operating system lets go of it when the process ends.

    Raises:
        BusyError: another process holds it; its number and start are named.
        EnvironmentProblem: the lock is a link or the like, and would be written elsewhere.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with _open(folder / _LOCK) as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            stream.seek(0)
            owner = printable(stream.read(_LONGEST_OWNER).strip()) or "another process"
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


def _open(path: Path) -> TextIO:
    if not path.is_symlink():
        # O_NOFOLLOW for a link that appears in between, O_NONBLOCK for a pipe
        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        descriptor = os.open(path, flags, 0o644)
        if stat.S_ISREG(os.fstat(descriptor).st_mode):
            return os.fdopen(descriptor, "r+", errors="replace")
        os.close(descriptor)
    raise EnvironmentProblem(
        "The lock of this run folder is not a file of its own.",
        where=str(path),
        advice="Remove it, then run again.",
    )
