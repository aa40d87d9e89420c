"""Open files that others may have made: regular files of bounded size, and nothing else."""

from __future__ import annotations

import hashlib
import os
import stat
from pathlib import Path
from typing import BinaryIO

from tmkd_deploy.printable import is_printable


class UnsuitableFileError(Exception):
    """Why a file is not read: "it is a link", for example."""


def open_regular(path: Path, largest: int, *, follow_link: bool = True) -> BinaryIO:
    """Open `path` for reading.

    Args:
        path: the file.
        largest: the size in bytes up to which it is read.
        follow_link: whether `path` may be a symbolic link; its parents may be in any case.

    Raises:
        UnsuitableFileError: it is a link, a folder, a device or the like, or larger than `largest`.
        OSError: it cannot be opened.
    """
    if not follow_link and path.is_symlink():
        raise UnsuitableFileError("it is a link")
    # without O_NONBLOCK, a pipe would wait for its writer
    flags = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | (0 if follow_link else os.O_NOFOLLOW)
    stream = os.fdopen(os.open(path, flags), "rb")
    status = os.fstat(stream.fileno())
    problem = None
    if not stat.S_ISREG(status.st_mode):
        problem = "it is not a regular file"
    elif status.st_size > largest:
        problem = f"it has {status.st_size:,} bytes; at most {largest:,} are read"
    if problem:
        stream.close()
        raise UnsuitableFileError(problem)
    return stream


def sha256(stream: BinaryIO) -> str:
    """The SHA-256 of the rest of `stream` as hexadecimal digits."""
    digest = hashlib.sha256()
    for block in iter(lambda: stream.read(1 << 20), b""):
        digest.update(block)
    return digest.hexdigest()


def is_inside(name: str) -> bool:
    """Whether `name` is the relative, normalised path of something within a folder."""
    return is_printable(name) and not {"", ".", ".."} & set(name.split("/"))


def difference(folder: Path, name: str, size: int, expected_sha256: str) -> str | None:
    """Why the file `name` in `folder` is not the one described; None if it is.

    Links are not followed, within `folder`.
    """
    path = folder / name
    if any((folder / parent).is_symlink() for parent in Path(name).parents[:-1]):
        return "is behind a link"
    try:
        with open_regular(path, size, follow_link=False) as stream:
            if os.fstat(stream.fileno()).st_size != size:
                return "is missing or truncated"
            found = sha256(stream)
    except UnsuitableFileError as error:
        return f"cannot be read: {error}"
    except OSError:
        return "is missing or truncated"
    return None if found == expected_sha256 else "was altered after it was written"
