"""One connection to an agent, from its greeting to its end."""

from __future__ import annotations

import contextlib
import itertools
import json
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any, BinaryIO, NoReturn

from tmkd_deploy.agent import SCHEMA
from tmkd_deploy.agent.agent_errors import BUSY, DATA, REQUEST
from tmkd_deploy.devices import messages
from tmkd_deploy.devices.channel import Channel, ConnectionClosedError, ResponseTimeoutError
from tmkd_deploy.devices.payload import agent_zip, handshake
from tmkd_deploy.devices.routes import SHOWN_CHARACTERS, Route, printable
from tmkd_deploy.errors import (
    BusyError,
    DataError,
    EnvironmentProblem,
    RequestError,
    TmkdError,
)

Message = Mapping[str, Any]
Listener = Callable[[Message], None]

_OURS = b'{"tmkd":'
_MAX_UNRELATED_OUTPUT = 64 << 10
_LONGEST_SHOWN = 1000
_BLOCK = 1 << 18
_ERRORS: dict[str, type[TmkdError]] = {REQUEST: RequestError, DATA: DataError, BUSY: BusyError}


class Session:
    """A running agent. `hello` is its greeting, received at `hello_at` in seconds since 1970.

    Whatever the device prints, only the agent's own messages about the current request are signs
    of life, and of anything else only a little is put up with.
    """

    def __init__(self, route: Route, where: str, timeout: float) -> None:
        """Start an agent, which has `timeout` seconds to greet, and as long for every message.

        Raises:
            EnvironmentProblem: the device cannot be reached, or cannot run the agent.
        """
        self._route, self._where, self._timeout = route, where, timeout
        self._ids = itertools.count(1)
        self._request: int | None = None
        self._greeted = False
        self._unrelated_output = bytearray()
        self.closed = False
        self._renew()
        try:
            self._channel = Channel(route.command())
        except FileNotFoundError as error:
            raise EnvironmentProblem(
                f"The program {error.filename!r} is not installed on this machine.",
                where=where,
                advice="Install it, for example with: sudo apt-get install openssh-client",
            ) from None
        with self._closing_on_failure():
            self._send_agent()
            self.hello = self._next()
            if self.hello.get("type") == "error":
                raise self._error(self.hello)
        self.hello_at = time.time()
        self._greeted = True

    def close(self) -> None:
        """Stop the agent, whatever it is doing."""
        self._channel.close()
        self.closed = True

    def request(self, name: str, arguments: Message, listen: Listener) -> Any:
        """Send a request and return its result.

        `listen` is called with each message before the result. Any exception closes the session,
        unless it is an error that the agent itself reported.

        Raises:
            DeviceUnreachable: the connection was lost.
            TmkdError: the agent reported an error, or cannot answer.
        """
        self._request = next(self._ids)
        self._unrelated_output.clear()
        self._renew()
        with self._closing_on_failure():
            self._send(json.dumps({"id": self._request, "do": name, **arguments}).encode() + b"\n")
            while (message := self._next())["type"] not in {"result", "error"}:
                listen(message)
        if message["type"] == "error":
            raise self._error(message)
        return message["value"]

    def send_file(self, file: BinaryIO, count: int, listen: Listener) -> None:
        """Send the next `count` bytes of `file`; for a listener to call when the agent waits.

        Raises:
            DataError: the file has become shorter.
            TmkdError: as `request`.
        """
        while count:
            block = memoryview(file.read(min(count, _BLOCK)))
            if not block:
                raise DataError(
                    "A file became shorter while it was being sent to the device.",
                    where=file.name,
                    advice="Make sure that nothing writes to the run folder, then run again.",
                )
            count -= len(block)
            while block := self._send_some(block):
                message = self._next()
                if message["type"] == "error":
                    raise self._error(message)
                if message["type"] == "result":
                    self.refuse("it is a result, before the whole file was sent")
                listen(message)

    def refuse(self, reason: str, line: bytes = b"") -> NoReturn:
        """Give up on a device whose agent answers otherwise than it should.

        Raises:
            EnvironmentProblem: always.
        """
        messages.refuse(self._where, reason, line)

    @contextlib.contextmanager
    def _closing_on_failure(self) -> Iterator[None]:
        try:
            yield
        except BaseException:
            self.close()
            raise

    def _send_agent(self) -> None:
        """Send the agent, judging each line that arrives meanwhile.

        Reading them later would let a device that prints without end, and reads nothing, fill this
        machine's memory: the agent is larger than what a pipe holds.
        """
        rest = memoryview(handshake(agent_zip()))
        while rest := self._send_some(rest):
            line = self._line()
            message = self._read(line)
            if message is None or message["type"] != "error":
                self._skip_unrelated(line)
            else:
                raise self._error(message)

    def _send(self, data: bytes) -> None:
        # If the agent is gone, its last message may explain why; `_next` finds it, or the end.
        with self._within_timeout() as left, contextlib.suppress(ConnectionClosedError):
            self._channel.send(data, left)

    def _send_some(self, data: memoryview) -> memoryview:
        """Send `data` until a line arrives; returns the rest."""
        with self._within_timeout() as left, contextlib.suppress(ConnectionClosedError):
            return self._channel.send_until_line(data, left)
        return data

    def _next(self) -> Message:
        """The next message of the current request or, before the first, the greeting."""
        while True:
            line = self._line()
            message = self._read(line)
            if message is not None and self._is_awaited(message):
                self._renew()
                return message
            self._skip_unrelated(line)

    def _is_awaited(self, message: Message) -> bool:
        if self._request is None:
            return message["type"] in {"hello", "error"}
        of = message.get("id")
        return of == self._request or (of is None and message["type"] == "error")

    def _renew(self) -> None:
        """Give the device the whole of its time again."""
        self._deadline = time.monotonic() + self._timeout

    def _line(self) -> bytes:
        try:
            with self._within_timeout() as left:
                return self._channel.line(left)
        except ConnectionClosedError:
            self._raise_exit_reason()

    def _read(self, line: bytes) -> Message | None:
        """The message in a line; None if an agent did not write it."""
        if not line.startswith(_OURS):
            return None
        try:
            message = messages.parse(line)
            schema = message["tmkd"]
            if type(schema) is not int:
                self.refuse("the version of its protocol is not a number", line)
            if schema == SCHEMA:
                messages.check(message)
                return message
        except messages.UnusableError as error:
            self.refuse(str(error), line)
        raise EnvironmentProblem(
            f"The agent on the device speaks version {schema} of the protocol, but "
            f"this program speaks version {SCHEMA}.",
            where=self._where,
            advice="Something else answers in place of the agent that was sent: check what "
            "`python3` is on the device.",
        )

    def _skip_unrelated(self, line: bytes) -> None:
        """Ignore what login scripts and libraries print, and late messages, within limits."""
        self._unrelated_output += line + b"\n"
        if len(self._unrelated_output) <= _MAX_UNRELATED_OUTPUT:
            return
        first, _, _ = self._unrelated_output.decode(errors="replace").lstrip().partition("\n")
        begins = printable(first, SHOWN_CHARACTERS)
        if self._greeted:
            self.refuse(f'it prints endlessly between its answers, beginning with "{begins}"')
        raise EnvironmentProblem(
            f'The device prints endlessly instead of starting the agent; it began with "{begins}".',
            where=self._where,
            advice="Make the login scripts there (such as ~/.bashrc) print nothing without a "
            "terminal.",
        )

    def _raise_exit_reason(self) -> NoReturn:
        code, stderr = self._channel.close()
        if not stderr.strip():
            stderr = self._unrelated_output.decode(errors="replace")
        # made printable only line by line, because ssh's own messages are told apart by line
        stderr = "\n".join(printable(line, _LONGEST_SHOWN) for line in stderr.splitlines())
        raise self._route.explain(code, stderr, greeted=self._greeted)

    def _error(self, message: Message) -> TmkdError:
        """The exception for an agent's error message."""
        where = f"{self._where}, {message['where']}" if message.get("where") else self._where
        kind = _ERRORS.get(message["code"], EnvironmentProblem)
        return kind(message["problem"], where=where, advice=message["advice"])

    @contextlib.contextmanager
    def _within_timeout(self) -> Iterator[float]:
        """The seconds that the device has left."""
        try:
            yield self._deadline - time.monotonic()
        except ResponseTimeoutError:
            raise EnvironmentProblem(
                f"The device has not responded for {self._timeout:g} seconds.",
                where=self._where,
                advice="Check that it is still on and what keeps it busy (`top`), then run again.",
            ) from None
