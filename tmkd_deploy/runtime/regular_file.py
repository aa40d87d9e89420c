"""Open files that others provide: regular ones of bounded size, and nothing else.

Opening a named pipe waits for a writer, and /dev/zero never ends; a link may lead to either.
"""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path
from typing import BinaryIO


class UnsuitableFileError(OSError):
    """Why a file is not read, such as "it is a link"; this is also its `strerror`."""

    def __init__(self, problem: str, path: Path | None = None) -> None:
        super().__init__(errno.EINVAL, problem, None if path is None else str(path))

    def __str__(self) -> str:
        return str(self.strerror)


def open_regular(path: Path, limit: int | None = None, *, follow_link: bool = True) -> BinaryIO:
    """Open a regular file for reading.

    Args:
        path: the file.
        limit: the size in bytes up to which it is read; None for any.
        follow_link: whether `path` may be a symbolic link; its parents may be in any case.

    Raises:
        UnsuitableFileError: it is a link, a pipe, a device or the like, or larger than `limit`, or
            no file can have this name.
        OSError: it cannot be opened.
    """
    # without O_NONBLOCK, a pipe would wait for its writer
    flags = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | (0 if follow_link else os.O_NOFOLLOW)
    if not follow_link and path.is_symlink():
        raise UnsuitableFileError("it is a link", path)
    try:
        descriptor = os.open(path, flags)
    except ValueError as error:  # a NUL character, or one that no file name can contain
        raise UnsuitableFileError("it has a name that no file can have") from error
    except OSError as error:
        if error.errno == errno.ENXIO:
            raise UnsuitableFileError("it is a socket, not a regular file", path) from error
        raise
    try:
        state = os.fstat(descriptor)
        if stat.S_ISDIR(state.st_mode):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
        if not stat.S_ISREG(state.st_mode):
            raise UnsuitableFileError("it is a pipe or a device, not a regular file", path)
        if limit is not None and state.st_size > limit:
            raise _too_large(path, limit)
        return os.fdopen(descriptor, "rb")
    except BaseException:
        os.close(descriptor)
        raise


def read_regular(path: Path, limit: int) -> bytes:
    """The content of the regular file at `path`, at most `limit` bytes.

    Raises:
        UnsuitableFileError, OSError: as `open_regular`.
    """
    with open_regular(path, limit) as stream:
        # `read` reserves what it is asked for: the limit may be more than a small device has
        return stream.read(os.fstat(stream.fileno()).st_size)


def _too_large(path: Path, limit: int) -> OSError:
    size = f"{limit:,} bytes"
    for unit, bits in (("GiB", 30), ("MiB", 20)):
        if limit >= 1 << bits:
            size = f"{limit >> bits} {unit}"
            break
    return UnsuitableFileError(f"it is larger than {size}", path)
