"""A child process whose input we write and whose lines we read, both with a timeout."""

from __future__ import annotations

import os
import select
import subprocess
import tempfile
from collections import deque
from collections.abc import Sequence

_BLOCK = 1 << 16
_LONGEST_LINE = 1 << 20
_ERRORS_KEPT = 1 << 14
_SECONDS_TO_EXIT = 5.0


class ConnectionClosedError(Exception):
    """The process has ended, or has closed its output."""


class ResponseTimeoutError(Exception):
    """The process neither wrote nor read anything within the timeout."""


class Channel:
    """One process. Its output is read while we write, so that neither side blocks the other."""

    def __init__(self, command: Sequence[str]) -> None:
        """Start `command` in its own session, so that Ctrl-C in the terminal reaches only us.

        Raises:
            FileNotFoundError: the program is not installed.
        """
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 - open as long as the process
        self._process = subprocess.Popen(
            list(command),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            bufsize=0,
            start_new_session=True,
        )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._input, self._output = self._process.stdin, self._process.stdout
        os.set_blocking(self._input.fileno(), False)
        self._unfinished = bytearray()
        self._lines: deque[bytes] = deque()
        self._ended = False
        self._end: tuple[int, str] | None = None

    @property
    def has_line(self) -> bool:
        """Whether `line` would return at once."""
        return bool(self._lines)

    def line(self, timeout: float) -> bytes:
        """The next line, without its newline.

        Raises:
            ConnectionClosedError: there is none.
            ResponseTimeoutError: nothing arrived for `timeout` seconds.
        """
        while not self._lines:
            if self._ended:
                raise ConnectionClosedError
            self._step(memoryview(b""), timeout)
        return self._lines.popleft()

    def send(self, data: bytes, timeout: float) -> None:
        """Write all of `data`.

        Raises:
            ConnectionClosedError: the process no longer reads.
            ResponseTimeoutError: it read nothing for `timeout` seconds.
        """
        rest = memoryview(data)
        while rest:
            rest = rest[self._step(rest, timeout) :]

    def send_until_line(self, data: memoryview, timeout: float) -> memoryview:
        """Write `data` until a line arrives; returns what is left to write.

        Raises:
            ConnectionClosedError, ResponseTimeoutError: as `send`.
        """
        while data and not self._lines:
            data = data[self._step(data, timeout) :]
        return data

    def close(self) -> tuple[int, str]:
        """End the process, by closing its input or, failing that, by a signal.

        Returns:
            Its exit code, and the end of its standard error.
        """
        if self._end is None:
            for stream in (self._input, self._output):
                stream.close()
            self._end = self._wait(), self._last_errors()
            self._errors.close()
        return self._end

    def _wait(self) -> int:
        for force in (self._process.terminate, self._process.kill):
            try:
                return self._process.wait(_SECONDS_TO_EXIT)
            except subprocess.TimeoutExpired:
                force()
        return self._process.wait()

    def _last_errors(self) -> str:
        size = self._errors.seek(0, os.SEEK_END)
        self._errors.seek(max(0, size - _ERRORS_KEPT))
        return self._errors.read().decode(errors="replace")

    def _step(self, outgoing: memoryview, timeout: float) -> int:
        """Read whatever has arrived and write as much as fits; returns the bytes written."""
        poll = select.poll()
        if not self._ended:
            poll.register(self._output, select.POLLIN)
        if outgoing:
            poll.register(self._input, select.POLLOUT)
        ready = dict(poll.poll(timeout * 1000))
        if not ready:
            raise ResponseTimeoutError
        if self._output.fileno() in ready:
            self._read()
        if self._input.fileno() not in ready:
            return 0
        try:
            return os.write(self._input.fileno(), outgoing[:_BLOCK])
        except BlockingIOError:
            return 0
        except BrokenPipeError:
            raise ConnectionClosedError from None

    def _read(self) -> None:
        block = os.read(self._output.fileno(), _BLOCK)
        self._ended = not block
        *lines, rest = block.split(b"\n")
        for line in lines:
            self._lines.append(bytes(self._unfinished) + line)
            self._unfinished.clear()
        self._unfinished += rest
        if len(self._unfinished) > _LONGEST_LINE:
            self._lines.append(bytes(self._unfinished))
            self._unfinished.clear()
