"""What a request works with: the files it was sent, a place to write, and the way to answer."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any, Callable, Sequence, TextIO

from tmkd_deploy.agent.child_processes import ChildProcesses
from tmkd_deploy.agent.transport import store
from tmkd_deploy.agent.transport.reader import Reader
from tmkd_deploy.agent.transport.writer import Writer


class Context:
    """One session's work folder. `lock_file` is open while the device is locked for us."""

    def __init__(
        self, folder: Path, writer: Writer, reader: Reader, children: ChildProcesses
    ) -> None:
        self.folder = folder
        self.writer = writer
        self.reader = reader
        self.children = children
        self.lock_file: TextIO | None = None

    def stored_file(self, sha256: str) -> Path:
        """The file with this content.

        Raises:
            AgentError: `data`, because this device does not hold it.
        """
        return store.find(self.folder, sha256)

    def store_file(self, path: Path) -> str:
        """Move a finished file into the store; returns its SHA-256."""
        return store.add(self.folder, path)

    def scratch(self) -> Path:
        """An empty folder for unfinished files; the next call, or the next session, empties it."""
        scratch = self.folder / "scratch"
        shutil.rmtree(scratch, ignore_errors=True)
        scratch.mkdir()
        return scratch

    def cached(
        self, key: str, make: Callable[[], dict[str, Any]], files: Sequence[str] = ()
    ) -> tuple[dict[str, Any], bool]:
        """What `make` answered before under this key, or now; and whether it was before.

        Args:
            key: `cache_key` everything that the answer depends on.
            files: the names of the answer's fields that hold a stored file's SHA-256 (or None).
                An answer whose files were cleaned away is made anew.
        """
        path = self.folder / "results" / (key + ".json")
        earlier = store.read_result(path)
        if earlier is not None and all(
            earlier.get(name) is None or store.holds(self.folder, earlier[name]) for name in files
        ):
            store.touch(path)
            return earlier, True
        answer = make()
        store.write_result(path, answer)
        return answer, False


def cache_key(fields: dict[str, Any]) -> str:
    """A name for what an answer depends on: the SHA-256 of its fields."""
    text = json.dumps(fields, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode("utf-8")).hexdigest()
