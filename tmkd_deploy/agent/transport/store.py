"""Files by their SHA-256, and cached results, in the agent's folder."""

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


def path_of(folder: Path, sha256: str) -> Path:
    """The path of the file with this hash, whether or not it exists.

    Raises:
        AgentError: `request`: this is not a SHA-256.
    """
    if _SHA256.fullmatch(sha256) is None:
        raise AgentError(REQUEST, f"{sha256!r} is not a SHA-256 in lower-case hexadecimal.")
    return folder / "files" / sha256


def holds(folder: Path, sha256: str) -> bool:
    """Whether the store has the file with this hash; if so, mark it as used."""
    path = path_of(folder, sha256)
    if not path.is_file():
        return False
    touch(path)
    return True


def find(folder: Path, sha256: str) -> Path:
    """The file with this hash, marked as used.

    Raises:
        AgentError: `data`: this device does not have it.
    """
    if not holds(folder, sha256):
        raise AgentError(
            DATA,
            "The device does not hold a file that this request needs.",
            sha256,
            "Run again to send the file again.",
        )
    return path_of(folder, sha256)


def add(folder: Path, path: Path) -> str:
    """Move a finished file on the same disk into the store; returns its SHA-256."""
    sha256 = hash_of(path)
    target = path_of(folder, sha256)
    with path.open("rb+") as file:
        os.fsync(file.fileno())
    path.replace(target)
    return sha256


def hash_of(path: Path) -> str:
    """The SHA-256 of a file, in lower-case hexadecimal."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        for block in iter(lambda: file.read(_BLOCK), b""):
            digest.update(block)
    return digest.hexdigest()


def read_result(path: Path) -> dict[str, Any] | None:
    """A cached result; None if there is none, or it cannot be read."""
    try:
        result = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return result if isinstance(result, dict) else None


def write_result(path: Path, result: dict[str, Any]) -> None:
    """Cache a result atomically."""
    unfinished = path.with_suffix(".part")
    with unfinished.open("w", encoding="utf-8") as file:
        json.dump(result, file, allow_nan=False)
        file.flush()
        os.fsync(file.fileno())
    unfinished.replace(path)


def touch(path: Path) -> None:
    """Mark a file as used now."""
    os.utime(path)
