"""A device on which engines are built and measured, local or over SSH."""

from __future__ import annotations

import base64
import binascii
import functools
import getpass
import itertools
import os
import shutil
import socket
import time
from collections.abc import Callable
from datetime import datetime, timezone
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, TypeVar

from tmkd_deploy.artifacts import sha256_of
from tmkd_deploy.devices import answers
from tmkd_deploy.devices.address import Address, SshAddress
from tmkd_deploy.devices.messages import UnusableError
from tmkd_deploy.devices.progress_forwarder import ProgressForwarder
from tmkd_deploy.devices.routes import DeviceUnreachable, LocalRoute
from tmkd_deploy.devices.session import Listener, Message, Session
from tmkd_deploy.devices.ssh_route import SshRoute
from tmkd_deploy.errors import DataError, EnvironmentProblem
from tmkd_deploy.events import Events

T = TypeVar("T")

# A working agent sends a heartbeat every five seconds.
HEARTBEAT_TIMEOUT_SECONDS = 60.0
RECONNECT_AFTER_SECONDS = (1.0, 2.0, 4.0)
_MAX_CLOCK_SKEW_SECONDS = 300.0
_LARGEST_DOWNLOAD = 16 << 30
_DESCRIPTIONS = {
    "build": "Building",
    "predict": "Running images",
    "measure": "Measuring",
    "find_installed": "Looking for the engine",
    "install": "Installing",
}
_devices = itertools.count(1)


class TimeIsUp(EnvironmentProblem):
    """A request was given up at the time that `Device.stop_at` set; the agent has ended it."""


class Device:
    """One device, for one thread. Its agent runs only within `with`.

    A lost connection is reestablished, up to three times per request; an upload then resumes where
    it stopped, and any other request is repeated.
    """

    def __init__(
        self, address: Address, events: Events, *, timeout: float = HEARTBEAT_TIMEOUT_SECONDS
    ) -> None:
        """`timeout`: the device counts as dead after this many seconds without a heartbeat."""
        self._where = str(address)
        self._route = SshRoute(address) if isinstance(address, SshAddress) else LocalRoute()
        self._events = events
        self._timeout = timeout
        # Unique per device, because an agent ends an earlier one with the same owner.
        self._owner = f"{_user()}@{socket.gethostname()}, process {os.getpid()}-{next(_devices)}"
        self._locked = False
        self._session: Session | None = None
        self._end: float | None = None

    def __enter__(self) -> Device:
        """Start the agent.

        Raises:
            EnvironmentProblem: the device cannot be reached, or cannot run the agent.
        """
        self._session = self._connect()
        self._compare_clocks(self._session)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Stop the agent, whatever it is doing."""
        if self._session is not None:
            self._session.close()

    @functools.cached_property
    def info(self) -> dict[str, Any]:
        """The device info: the result of the agent's `probe`, requested once.

        Raises:
            TmkdError: as `request`.
        """
        return self.request("probe")

    def request(self, name: str, **arguments: Any) -> dict[str, Any]:
        """Send a request and return its result; progress and messages go to the events.

        Raises:
            RequestError: the agent does not understand the request.
            DataError: a file on the device is missing or invalid.
            BusyError: another run holds the device.
            EnvironmentProblem: the device cannot do it, is out of memory or disk, or was lost.
        """
        description = _DESCRIPTIONS.get(name, f"Requesting {name}")

        def send(session: Session, progress: Listener) -> dict[str, Any]:
            value = session.request(name, arguments, progress)
            try:
                return answers.check(name, value)
            except UnusableError as error:
                session.refuse(f"the result of {name!r} is wrong, {error}")

        return self._with_retries(description, send)

    def lock(self, *, force: bool = False) -> None:
        """Lock the device for this run until the end of `with`; `force` ends the run that holds it.

        Raises:
            BusyError: another run holds it; the error names that run.
        """
        self.request("lock", owner=self._owner, force=force)
        self._locked = True

    def stop_at(self, end: float | None) -> None:
        """Give up each request, with `TimeIsUp`, that lasts until `end` of `time.monotonic`.

        It is noticed at the agent's next sign of life, within seconds. None sets no end.
        """
        self._end = end

    def upload(self, path: Path) -> str:
        """Send a file to the device, unless it is there; returns its SHA-256, its name there.

        Raises:
            DataError: it was corrupted, or became shorter, on the way.
            EnvironmentProblem: as `request`; a full disk is one.
        """
        sha256 = sha256_of(path)
        size = path.stat().st_size

        def send(session: Session, progress: Listener) -> str:
            is_ready = False

            def listen(message: Message) -> None:
                nonlocal is_ready
                if message["type"] == "ready":
                    if is_ready or message["offset"] > size:
                        session.refuse(f"it asks for the file from byte {message['offset']} on")
                    is_ready = True
                    file.seek(message["offset"])
                    session.send_file(file, size - message["offset"], listen)
                else:
                    progress(message)

            session.request("receive", {"sha256": sha256, "bytes": size}, listen)
            return sha256

        with path.open("rb") as file:
            return self._with_retries(f"Sending {path.name}", send)

    def download(self, sha256: str, path: Path) -> None:
        """Fetch a file from the device to `path`, atomically.

        Raises:
            DataError: the device does not have it, or it was corrupted on the way.
            EnvironmentProblem: as `request`; no space for it on the disk here is one.
        """
        unfinished = path.with_name(f".{path.name}.part")
        try:
            with unfinished.open("wb") as file:
                self._with_retries(
                    f"Fetching {path.name}",
                    lambda session, progress: _fetch(session, sha256, file, progress),
                )
            if sha256_of(unfinished) != sha256:
                raise DataError(
                    "A file from the device was corrupted on the way.",
                    where=f"{self._where}, {sha256}",
                    advice="Run again; if this recurs, check the device's disk.",
                )
            unfinished.replace(path)
        finally:
            unfinished.unlink(missing_ok=True)

    def _with_retries(self, description: str, operation: Callable[[Session, Listener], T]) -> T:
        """The result of `operation`, reconnecting if the connection is lost."""
        for seconds in RECONNECT_AFTER_SECONDS:
            try:
                return self._attempt(description, operation)
            except DeviceUnreachable as lost:
                self._events.warn(f"{self._where}: {lost.problem} Retrying in {seconds:g} s.")
                time.sleep(seconds)
        return self._attempt(description, operation)

    def _attempt(self, description: str, operation: Callable[[Session, Listener], T]) -> T:
        progress = ProgressForwarder(self._events, description, self._where)

        def listen(message: Message) -> None:
            if self._end is not None and time.monotonic() >= self._end:
                raise TimeIsUp(
                    "The time for this device is up.", where=self._where, advice="Run again."
                )
            progress(message)

        try:
            return operation(self._open_session(), listen)
        finally:
            progress.finish()

    def _open_session(self) -> Session:
        """The session, or a new one if it was lost; a new one takes over its lock."""
        assert self._session is not None, "use a device inside `with`"
        if self._session.closed:
            self._session = self._connect()
            if self._locked:
                progress = ProgressForwarder(self._events, "Locking the device", self._where)
                self._session.request("lock", {"owner": self._owner}, progress)
        return self._session

    def _connect(self) -> Session:
        return Session(self._route, self._where, self._timeout)

    def _compare_clocks(self, session: Session) -> None:
        there, here = float(session.hello["time"]), session.hello_at
        if abs(there - here) > _MAX_CLOCK_SKEW_SECONDS:
            self._events.warn(
                f"{self._where}: The device's clock shows {_utc(there)}, this machine's "
                f"{_utc(here)}. Correct the wrong one, for example with: "
                "sudo timedatectl set-ntp true"
            )


def _fetch(session: Session, sha256: str, file: BinaryIO, progress: Listener) -> None:
    """Append the missing rest of a device's file to `file`, within the size stated first."""
    size = 0

    def listen(message: Message) -> None:
        nonlocal size
        if message["type"] == "size":
            size = message["bytes"]
            if not file.tell() <= size <= _LARGEST_DOWNLOAD:
                session.refuse(f"it offers a file of {size} bytes")
            _require_space(Path(file.name).parent, size - file.tell())
        elif message["type"] == "chunk":
            content = _decoded(message["data"])
            if content is None or message["offset"] != file.tell():
                session.refuse(f"it sends no part of the file for byte {file.tell()}")
            if file.tell() + len(content) > size:
                session.refuse(f"it sends more of the file than the {size} bytes it stated first")
            file.write(content)
        else:
            progress(message)

    session.request("fetch", {"sha256": sha256, "offset": file.tell()}, listen)
    if file.tell() != size:
        session.refuse(f"it sent {file.tell()} of the {size} bytes of a file")


def _decoded(data: str) -> bytes | None:
    """The bytes that `data` stands for in base 64; None if there are none."""
    try:
        return base64.b64decode(data, validate=True) or None
    except (binascii.Error, ValueError):
        return None


def _require_space(folder: Path, needed: int) -> None:
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise EnvironmentProblem(
            f"This machine's disk has {_mb(free)} MB free, and a file of the device needs "
            f"{_mb(needed)} MB.",
            where=str(folder),
            advice="Free some space, or choose another folder with --runs, then run again.",
        )


def _mb(count: int) -> str:
    return f"{count / 2**20:,.1f}"


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a user id without a name, as in containers
        return str(os.getuid())


def _utc(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, timezone.utc).strftime("%Y-%m-%d %H:%M:%S UTC")
