"""Uploads from and downloads to the host. An interrupted transfer resumes where it stopped."""

from __future__ import annotations

import base64
import shutil
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tmkd_deploy.agent.agent_errors import DATA, DISK_FULL, REQUEST, AgentError, from_os_error
from tmkd_deploy.agent.transport import store
from tmkd_deploy.agent.transport.request_fields import field

if TYPE_CHECKING:
    from tmkd_deploy.agent.transport.context import Context

_CHUNK = 256 << 10
_UNUSED_SECONDS = 30 * 24 * 3600.0


def receive(request: dict[str, Any], context: Context) -> dict[str, Any]:
    """Receive a file of `bytes` with this `sha256`, after reporting how much of it is here already.

    Raises:
        AgentError: `disk_full`; `data`: the file that arrived has another hash, and was deleted.
    """
    sha256, size = field(request, "sha256", str), field(request, "bytes", int)
    here = store.holds(context.folder, sha256)
    part = store.path_of(context.folder, sha256).with_suffix(".part")
    offset = size if here else _received(part, size)
    if not here:
        _check_free_space(context.folder, size - offset)
    context.writer.send("ready", id=context.writer.request, offset=offset)
    if not here:
        _append(context, part, offset, size)
        if store.hash_of(part) != sha256:
            part.unlink()
            raise AgentError(
                DATA,
                "A file was corrupted on its way to the device and was deleted.",
                sha256,
                "Run again; if this recurs, check the device's disk.",
            )
        store.add(context.folder, part)
    return {"sha256": sha256, "bytes": size}


def fetch(request: dict[str, Any], context: Context) -> dict[str, Any]:
    """State the size of a file, then send it in chunks, starting at `offset`.

    Raises:
        AgentError: `data`: the device does not have it; `request`: `offset` lies beyond its end.
    """
    path = context.stored_file(field(request, "sha256", str))
    offset, size = field(request, "offset", int), path.stat().st_size
    if not 0 <= offset <= size:
        raise AgentError(REQUEST, f"The file has {size} bytes, so offset {offset} is outside it.")
    context.writer.send("size", id=context.writer.request, bytes=size)
    with path.open("rb") as file:
        file.seek(offset)
        for chunk in iter(lambda: file.read(_CHUNK), b""):
            data = base64.b64encode(chunk).decode("ascii")
            context.writer.send("chunk", id=context.writer.request, offset=offset, data=data)
            offset += len(chunk)
            context.writer.progress(offset, size, "bytes")
    return {"bytes": size}


def clean(request: dict[str, Any], context: Context) -> dict[str, Any]:
    """Delete files unused for 30 days; returns how many files and bytes that freed."""
    oldest = time.time() - _UNUSED_SECONDS
    removed, freed = 0, 0
    in_use = {str(context.folder / "lock"), *sys.path}  # the agent's own zip is on sys.path
    for path in context.folder.rglob("*"):
        if path.is_file() and str(path) not in in_use and path.stat().st_mtime < oldest:
            freed += path.stat().st_size
            path.unlink()
            removed += 1
    return {"files": removed, "bytes": freed}


def _received(part: Path, size: int) -> int:
    """How many bytes an interrupted upload left."""
    if not part.exists():
        return 0
    if part.stat().st_size > size:
        part.unlink()
        return 0
    return part.stat().st_size


def _check_free_space(folder: Path, needed: int) -> None:
    free = shutil.disk_usage(str(folder)).free
    if free < needed:
        raise AgentError(
            DISK_FULL,
            f"The device's disk has {_mb(free)} MB free and this file needs {_mb(needed)} MB.",
            str(folder),
            "Free some space on the device, or set TMKD_DEPLOY_AGENT_HOME there to a folder on a "
            "larger disk; files already sent are kept.",
        )


def _append(context: Context, part: Path, offset: int, size: int) -> None:
    """Write what the host sends. After a failure, still read the rest to stay in sync."""
    failure = None
    # unbuffered, so that nothing that arrived is lost with the connection
    with part.open("ab", buffering=0) as file:
        for block in context.reader.raw(size - offset):
            offset += len(block)
            while block and failure is None:
                try:
                    block = block[file.write(block) :]  # noqa: PLW2901 - a write may be partial
                except OSError as error:
                    failure = error
            context.writer.progress(offset, size, "bytes")
    if failure is not None:
        part.unlink()  # freeing the disk matters more than resuming this upload
        raise from_os_error(failure) from failure


def _mb(count: int) -> str:
    return f"{count / 2**20:,.1f}"
