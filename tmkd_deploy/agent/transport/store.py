"""Files by their SHA-256, and cached results, in the agent's folder."""

from __future__ import annotations

import hashlib
import json
import os
import re
from pathlib import Path
from typing import Any

from tmkd_deploy.agent.agent_errors import REQUEST, AgentError

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


def add(folder: Path, path: Path, sha256: str) -> None:
    """Move a finished file with this hash, on the same disk, into the store."""
    with path.open("rb+") as file:
        os.fsync(file.fileno())
    path.replace(path_of(folder, sha256))


def discard(folder: Path, sha256: str) -> None:
    """Delete the file under this hash, and the manifest beside it."""
    path = path_of(folder, sha256)
    for each in (path, path.with_name(path.name + ".json")):
        each.unlink(missing_ok=True)


def hash_of(path: Path) -> str:
    """The SHA-256 of a file, in lower-case hexadecimal."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        for block in iter(lambda: file.read(_BLOCK), b""):
            digest.update(block)
    return digest.hexdigest()


def read_result(path: Path) -> dict[str, Any] | None:
    """A cached result; None if there is none, or it is not what was written."""
    try:
        cached = json.loads(path.read_text(encoding="utf-8"))
        result: dict[str, Any] = cached["result"]
        return result if cached["sha256"] == _hash_of_result(result) else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def write_result(path: Path, result: dict[str, Any]) -> None:
    """Cache a result atomically."""
    unfinished = path.with_suffix(".part")
    with unfinished.open("w", encoding="utf-8") as file:
        json.dump({"result": result, "sha256": _hash_of_result(result)}, file, allow_nan=False)
        file.flush()
        os.fsync(file.fileno())
    unfinished.replace(path)


def _hash_of_result(result: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(result, sort_keys=True).encode("utf-8")).hexdigest()


def touch(path: Path) -> None:
    """Mark a file as used now."""
    os.utime(path)
