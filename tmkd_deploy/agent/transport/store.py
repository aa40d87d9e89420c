"""Files named by their SHA-256, and remembered results, in the agent's work folder."""

from __future__ import annotations

import hashlib
import json
import os
import re
from pathlib import Path
from typing import Any

from tmkd_deploy.agent.agent_errors import DATA, REQUEST, AgentError

_SHA256 = re.compile(r"[0-9a-f]{64}")
_BLOCK = 1 << 20


def place(folder: Path, sha256: str) -> Path:
    """Where the file with this content lies, or would lie.

    Raises:
        AgentError: `request`, because this is no SHA-256.
    """
    if _SHA256.fullmatch(sha256) is None:
        raise AgentError(REQUEST, f"{sha256!r} is not a SHA-256 in lower-case hexadecimal digits.")
    return folder / "files" / sha256


def holds(folder: Path, sha256: str) -> bool:
    """Whether the store holds this content; if so it counts as used now."""
    path = place(folder, sha256)
    if not path.is_file():
        return False
    touch(path)
    return True


def find(folder: Path, sha256: str) -> Path:
    """The file with this content, which counts as used now.

    Raises:
        AgentError: `data`, because this device does not hold it.
    """
    if not holds(folder, sha256):
        raise AgentError(
            DATA,
            "The device does not hold a file that it needs for this request.",
            sha256,
            "Run again: the file is then sent once more.",
        )
    return place(folder, sha256)


def add(folder: Path, path: Path) -> str:
    """Move a finished file of the same disk into the store; returns its SHA-256."""
    sha256 = hash_of(path)
    target = place(folder, sha256)
    with path.open("rb+") as file:
        os.fsync(file.fileno())
    path.replace(target)
    return sha256


def hash_of(path: Path) -> str:
    """The SHA-256 of a file's content, in lower-case hexadecimal digits."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        for block in iter(lambda: file.read(_BLOCK), b""):
            digest.update(block)
    return digest.hexdigest()


def read_result(path: Path) -> dict[str, Any] | None:
    """A remembered answer; None where there is none that can be read."""
    try:
        answer = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return answer if isinstance(answer, dict) else None


def write_result(path: Path, answer: dict[str, Any]) -> None:
    """Remember an answer; it appears whole or not at all."""
    unfinished = path.with_suffix(".part")
    with unfinished.open("w", encoding="utf-8") as file:
        json.dump(answer, file, allow_nan=False)
        file.flush()
        os.fsync(file.fileno())
    unfinished.replace(path)


def touch(path: Path) -> None:
    """Count a file as used now."""
    os.utime(path)
