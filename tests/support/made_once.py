"""Folders that all workers of pytest-xdist share: the first to need one makes it, others wait."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable
from pathlib import Path

import pytest


def made_once(
    name: str, tmp_path_factory: pytest.TempPathFactory, make: Callable[[Path], None]
) -> Path:
    """The folder `name` of this test session, filled by `make`."""
    session = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        session = session.parent  # each worker has a folder of its own in it
    folder, complete = session / name, session / f"{name}.complete"
    with (session / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # the kernel lets go of it, however a worker ends
        if not complete.exists():
            folder.mkdir()
            make(folder)
            complete.touch()
    return folder
