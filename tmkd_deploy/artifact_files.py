"""The files of an artifact: their names, their hashes, and whether they are what was written.

A large file is hashed once, so that not every command reads it again. It then counts as unchanged
while its size, its times of change, its inode and its device are what they were before it was
hashed. No program can set the time of an inode's last change, so whoever makes or alters a run
folder cannot claim a file to be verified.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from pathlib import Path
from typing import BinaryIO

from tmkd_deploy.bounded_json import parse_json
from tmkd_deploy.printable import is_printable
from tmkd_deploy.runtime.regular_file import UnsuitableFileError, open_regular

STAMPS = ".verified.json"
LARGE = 64 << 20  # bytes; smaller files are quick to hash
_STAMPS_AT_MOST = 4 << 20


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


class VerifiedFiles:
    """The stamps of one folder; `save` writes those that were added."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._found = _read(folder / STAMPS)
        self._changed = False

    def difference(self, name: str, size: int, expected_sha256: str) -> str | None:
        """As the function `difference`, which is asked unless the file has a stamp."""
        if size < LARGE:
            return difference(self._folder, name, size, expected_sha256)
        stamp = [expected_sha256, *_state(self._folder / name)]
        if self._found.get(name) == stamp and size == stamp[1]:
            return None
        found = difference(self._folder, name, size, expected_sha256)
        if found is None:
            self._found[name], self._changed = stamp, True
        return found

    def save(self) -> None:
        """Keep new stamps, if the folder can be written."""
        if not self._changed:
            return
        draft = self._folder / f"{STAMPS}.{os.getpid()}"
        with contextlib.suppress(OSError):
            try:
                draft.write_text(json.dumps(self._found) + "\n", encoding="utf-8")
                draft.replace(self._folder / STAMPS)
            finally:
                draft.unlink(missing_ok=True)


def _state(path: Path) -> list[int]:
    """What changes with a file; of a link that of the link, which no stamp is made for."""
    try:
        found = path.lstat()
    except OSError:
        return []
    return [found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino, found.st_dev]


def _read(file: Path) -> dict[str, object]:
    try:
        with open_regular(file, _STAMPS_AT_MOST, follow_link=False) as stream:
            found = parse_json(stream.read(_STAMPS_AT_MOST))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
