"""The files of an artifact: their names, their hashes, and whether they are what was written."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import BinaryIO

from tmkd_deploy.printable import is_printable
from tmkd_deploy.runtime.regular_file import UnsuitableFileError, open_regular


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
