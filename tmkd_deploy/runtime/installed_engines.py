"""Engines that were built on this machine for bundles, in a folder of the user's own.

A plan is code for the driver. So one is only loaded from a folder that belongs to this user and
that nobody else can write, and only if its hash is the one that was recorded when it was built.
`docs/reference/bundle.md` describes the files and their names.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import stat
from pathlib import Path
from typing import Any, NamedTuple

from tmkd_deploy.runtime.engine_errors import RuntimeUnusableError
from tmkd_deploy.runtime.engine_machine import EngineMachine
from tmkd_deploy.runtime.regular_file import open_regular

FOLDER_VARIABLE = "TMKD_DEPLOY_ENGINES"
_LARGEST = 2 << 30
_LARGEST_RECORD = 1 << 20


class BuildKey(NamedTuple):
    """All that decides which plan a build makes."""

    runtime: str
    onnx_sha256: str
    precision: str
    typing: str
    workspace_mb: int | None
    dla_core: int | None

    def on(self, machine: EngineMachine) -> str:
        """The name of the plan for a machine: a SHA-256 in hexadecimal."""
        document = {**self._asdict(), **machine._asdict()}
        text = json.dumps(document, sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode("utf-8")).hexdigest()


def folder() -> Path:
    """The folder, which need not exist."""
    named = os.environ.get(FOLDER_VARIABLE)
    return Path(named or os.path.expanduser("~/.cache/tmkd-deploy/engines"))  # noqa: PTH111 - also works without a home


def path_of(key: BuildKey, machine: EngineMachine) -> Path:
    """Where the plan is, or would be."""
    return folder() / f"{key.on(machine)}.plan"


def find(key: BuildKey, machine: EngineMachine) -> bytes | None:
    """The plan installed for this machine; None if there is none, or it is not what was kept.

    Raises:
        RuntimeUnusableError: others can write the folder.
    """
    root = folder()
    if not root.exists():
        return None
    _require_own(root)
    name = key.on(machine)
    try:
        plan = _read_own(root / f"{name}.plan", _LARGEST)
        record = json.loads(_read_own(root / f"{name}.json", _LARGEST_RECORD))
        intact = record["sha256"] == hashlib.sha256(plan).hexdigest()
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None
    return plan if intact else None


def keep(key: BuildKey, machine: EngineMachine, plan: bytes, about: dict[str, Any]) -> Path:
    """Install a plan that was built on this machine; `about` is recorded beside it.

    Raises:
        RuntimeUnusableError: others can write the folder.
        OSError: it cannot be written.
    """
    root = folder()
    root.mkdir(mode=0o700, parents=True, exist_ok=True)
    _require_own(root)
    name = key.on(machine)
    record = {**key._asdict(), **machine._asdict(), **about}
    record["sha256"] = hashlib.sha256(plan).hexdigest()
    path = path_of(key, machine)
    # until the second is written, the first does not match its record and counts as absent
    _write(path, plan)
    _write(root / f"{name}.json", (json.dumps(record, indent=1) + "\n").encode("utf-8"))
    return path


def _require_own(root: Path) -> None:
    problem = _danger(root)
    if problem is not None:
        raise RuntimeUnusableError(
            f"The folder of installed engines, {root}, {problem}, so no engine in it is used.",
            f"Delete it if it holds nothing else, or set {FOLDER_VARIABLE} to a folder that "
            "belongs to this user and that nobody else may write.",
        )


def _danger(root: Path) -> str | None:
    """Why others could put something of theirs into the folder, or into the way to it."""
    found = os.lstat(str(root))
    if not stat.S_ISDIR(found.st_mode):
        return "is a link or no folder"
    if found.st_uid != os.geteuid():
        return f"belongs to the user with the id {found.st_uid}"
    if found.st_mode & 0o022:
        return "may be written by its group or by others"
    for above in Path(os.path.realpath(str(root))).parents:
        mode = above.stat().st_mode
        if mode & 0o002 and not mode & stat.S_ISVTX:
            return f"lies in {above}, which anyone may write"
    return None


def _read_own(path: Path, limit: int) -> bytes:
    """A regular file of this user that nobody else may write.

    Raises:
        OSError: it is something else, or cannot be read.
    """
    with open_regular(path, limit, follow_link=False) as stream:
        found = os.fstat(stream.fileno())
        if found.st_uid != os.geteuid() or found.st_mode & 0o022:
            raise OSError("others may have written it")
        return stream.read(found.st_size)


def _write(path: Path, content: bytes) -> None:
    """Write a file that only this user may read, atomically."""
    unfinished = path.with_name(f"{path.name}.{os.getpid()}.part")
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    with contextlib.suppress(FileNotFoundError):  # of a killed process with our id
        unfinished.unlink()
    try:
        with os.fdopen(os.open(str(unfinished), flags, 0o600), "wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        unfinished.replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            unfinished.unlink()
        raise
