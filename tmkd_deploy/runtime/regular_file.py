"""Open files that others provide: regular ones of bounded size, and nothing else.

Opening a named pipe waits for a writer, and /dev/zero never ends; a link may lead to either.
"""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path
from typing import BinaryIO


def open_regular(path: Path, limit: int | None = None) -> BinaryIO:
    """Open the regular file at `path`, of at most `limit` bytes, for reading; links are followed.

    Raises:
        OSError: it cannot be opened, is no regular file, or is larger.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except ValueError as error:  # a NUL character, or one that no file name can contain
        raise OSError(errno.EINVAL, "its name is not valid", repr(str(path))) from error
    try:
        state = os.fstat(descriptor)
        if stat.S_ISDIR(state.st_mode):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
        if not stat.S_ISREG(state.st_mode):
            raise OSError(errno.EINVAL, "it is a pipe or a device, not a regular file", str(path))
        if limit is not None and state.st_size > limit:
            raise _too_large(path, limit)
        return os.fdopen(descriptor, "rb")
    except BaseException:
        os.close(descriptor)
        raise


def read_regular(path: Path, limit: int) -> bytes:
    """The content of the regular file at `path`, at most `limit` bytes.

    Raises:
        OSError: it cannot be read, is no regular file, or is larger.
    """
    with open_regular(path, limit) as stream:
        content = stream.read(limit + 1)  # it may have grown
    if len(content) > limit:
        raise _too_large(path, limit)
    return content


def _too_large(path: Path, limit: int) -> OSError:
    return OSError(errno.EFBIG, f"it is larger than {limit >> 20} MiB", str(path))
