"""Read a file that someone else named: no device, no pipe, nothing endless."""

from __future__ import annotations

import os
import stat
from pathlib import Path


def read_regular_file(path: Path, maximum: int) -> bytes:
    """The contents of a regular file of at most `maximum` bytes.

    Raises:
        OSError: the file does not exist or cannot be read.
        ValueError: it is not a regular file or is larger, or no file can have this name; the
            message completes "It ...".
    """
    try:
        with open(path, "rb", opener=_without_waiting) as stream:
            status = os.fstat(stream.fileno())
            if stat.S_ISREG(status.st_mode) and status.st_size <= maximum:
                return stream.read(status.st_size)
    except ValueError as error:  # a NUL, or a character that the file system cannot encode
        raise ValueError("has a name that no file can have") from error
    if not stat.S_ISREG(status.st_mode):
        raise ValueError("is not a regular file")
    raise ValueError(f"is larger than {maximum >> 30} GiB")


def _without_waiting(path: str, flags: int) -> int:
    """Open a file; otherwise opening a pipe would wait for a writer."""
    return os.open(path, flags | os.O_NONBLOCK)
