"""What a request has to work with: its files, a scratch folder and the connection."""

from __future__ import annotations

import hashlib
import json
import shutil
import socket
from pathlib import Path
from typing import Any, Callable, Sequence

from tmkd_deploy.agent.agent_errors import DATA, AgentError
from tmkd_deploy.agent.child_processes import ChildProcesses
from tmkd_deploy.agent.transport import store
from tmkd_deploy.agent.transport.reader import Reader
from tmkd_deploy.agent.transport.writer import Writer


class Context:
    """The folder and connection of one session. `device_lock` is open while we hold the lock."""

    def __init__(
        self, folder: Path, writer: Writer, reader: Reader, children: ChildProcesses
    ) -> None:
        self.folder = folder
        self.writer = writer
        self.reader = reader
        self.children = children
        self.device_lock: socket.socket | None = None
        self._intact: set[str] = set()

    def holds(self, sha256: str) -> bool:
        """Whether the store has the file with this hash; if so, mark it as used.

        A file is hashed on its first use in a session. An altered one is deleted and counts as
        absent, so that it is sent or made again.

        Raises:
            AgentError: `request`: this is not a SHA-256.
        """
        path = store.path_of(self.folder, sha256)
        if not path.is_file():
            return False
        if sha256 not in self._intact:
            if store.hash_of(path) != sha256:
                store.discard(self.folder, sha256)
                return False
            self._intact.add(sha256)
        store.touch(path)
        return True

    def stored_file(self, sha256: str) -> Path:
        """The stored file with this hash; see `holds`.

        Raises:
            AgentError: `data`: this device does not have it.
        """
        if not self.holds(sha256):
            raise AgentError(
                DATA,
                "The device does not hold a file that this request needs.",
                sha256,
                "Run again to send the file again.",
            )
        return store.path_of(self.folder, sha256)

    def store_file(self, path: Path) -> str:
        """Move a finished file into the store; returns its SHA-256."""
        sha256 = store.hash_of(path)
        store.add(self.folder, path, sha256)
        self._intact.add(sha256)
        return sha256

    def scratch(self) -> Path:
        """An empty folder for unfinished files; the next call or session empties it."""
        scratch = self.folder / "scratch"
        shutil.rmtree(scratch, ignore_errors=True)
        scratch.mkdir()
        return scratch

    def cached(
        self, key: str, make: Callable[[], dict[str, Any]], files: Sequence[str] = ()
    ) -> tuple[dict[str, Any], bool]:
        """The result for this key, from the cache or from `make`, and whether it was cached.

        Args:
            key: the `cache_key` of everything that the result depends on.
            files: the fields of the result that hold a stored file's SHA-256 (or None). A result
                whose files are gone is made again.
        """
        path = self.folder / "results" / (key + ".json")
        cached = store.read_result(path)
        if cached is not None and all(
            cached.get(name) is None or self.holds(cached[name]) for name in files
        ):
            store.touch(path)
            return cached, True
        result = make()
        store.write_result(path, result)
        return result, False


def cache_key(inputs: dict[str, Any]) -> str:
    """The SHA-256 of everything that a result depends on."""
    text = json.dumps(inputs, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode("utf-8")).hexdigest()
