"""Uploads from and downloads to the host. An interrupted transfer resumes where it stopped."""

from __future__ import annotations

import base64
import contextlib
import fcntl
import os
import shutil
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Iterator

from tmkd_deploy.agent.agent_errors import DATA, DISK_FULL, REQUEST, AgentError, from_os_error
from tmkd_deploy.agent.transport import store
from tmkd_deploy.agent.transport.request_fields import field

if TYPE_CHECKING:
    from tmkd_deploy.agent.transport.context import Context

_CHUNK = 256 << 10
_INTERRUPTED_SECONDS = 24 * 3600.0
_UNUSED_SECONDS = 30 * _INTERRUPTED_SECONDS


def receive(request: dict[str, Any], context: Context) -> dict[str, Any]:
    """Receive a file of `bytes` with this `sha256`, after reporting how much of it is here already.

    Raises:
        AgentError: `disk_full`; `data`: the file that arrived has another hash, and was deleted.
    """
    sha256, size = field(request, "sha256", str), field(request, "bytes", int)
    if context.holds(sha256):
        context.writer.send("ready", id=context.writer.request, offset=size)
    else:
        with _open_part(store.path_of(context.folder, sha256), size) as file:
            part, offset = Path(file.name), os.fstat(file.fileno()).st_size
            _check_free_space(context.folder, size - offset)
            context.writer.send("ready", id=context.writer.request, offset=offset)
            _append(context, file, offset, size)
            if store.hash_of(part) != sha256:
                part.unlink()
                raise AgentError(
                    DATA,
                    "A file was corrupted on its way to the device and was deleted.",
                    sha256,
                    "Run again; if this recurs, check the device's disk.",
                )
            store.add(context.folder, part, sha256)
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
    """Delete what is left over; returns how many files and bytes that freed.

    That is: files unused for 30 days, uploads interrupted a day ago, and, if we hold the device's
    lock, the unfinished files of sessions that were killed.
    """
    removed, freed = 0, 0
    for path in _own_files(context.folder):
        with contextlib.suppress(OSError):  # it was deleted, or is not ours to delete
            if path.is_file() and _is_left_over(path, context):
                size = path.stat().st_size
                path.unlink()
                removed, freed = removed + 1, freed + size
    return {"files": removed, "bytes": freed}


def _own_files(folder: Path) -> Iterator[Path]:
    """What lies in the agent's folder by its own doing; the account may keep other files there."""
    yield from folder.glob("agent-*")  # as `tmkd_deploy/devices/payload.py` names what it sends
    for name in ("files", "results", "scratch", "timing"):
        yield from (folder / name).rglob("*")


def _is_left_over(path: Path, context: Context) -> bool:
    # the agent's own zip is on sys.path
    if str(path) in {str(context.folder / "lock"), *sys.path}:
        return False
    if context.device_lock is not None and context.folder / "scratch" in path.parents:
        return True
    is_unfinished = path.suffix == ".part" or path.suffix[1:].isdigit()
    allowed = _INTERRUPTED_SECONDS if is_unfinished else _UNUSED_SECONDS
    return path.stat().st_mtime < time.time() - allowed


def _open_part(path: Path, size: int) -> BinaryIO:
    """What an interrupted upload to `path` left, open to append to; empty if nothing did.

    If another session receives the same file right now, this one gets a part of its own.
    """
    shared, own = path.with_suffix(".part"), path.with_suffix(f".{os.getpid()}.part")
    for part in (shared, own):
        # unbuffered, so that nothing that arrived is lost with the connection
        file: BinaryIO = part.open("ab", buffering=0)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # unless the other session has just finished it, and the file has its final name
            if os.path.samestat(os.fstat(file.fileno()), part.stat()):
                if os.fstat(file.fileno()).st_size > size:
                    file.truncate(0)
                return file
        except (BlockingIOError, FileNotFoundError):
            pass
        file.close()
    raise AssertionError("a part of this process's own is free")


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


def _append(context: Context, file: BinaryIO, offset: int, size: int) -> None:
    """Write what the host sends. After a failure, still read the rest to stay in sync."""
    failure = None
    for block in context.reader.raw(size - offset):
        offset += len(block)
        while block and failure is None:
            try:
                block = block[file.write(block) :]  # noqa: PLW2901 - a write may be partial
            except OSError as error:
                failure = error
        context.writer.progress(offset, size, "bytes")
    if failure is not None:
        Path(file.name).unlink()  # freeing the disk matters more than resuming this upload
        raise from_os_error(failure) from failure


def _mb(count: int) -> str:
    return f"{(10 * count >> 20) / 10:,.1f}" if count < 1 << 60 else f"{count >> 20:,}"
