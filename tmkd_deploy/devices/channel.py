"""A child process whose input we write and whose lines we read, both with a timeout."""

from __future__ import annotations

import os
import select
import subprocess
import time
from collections import deque
from collections.abc import Iterator, Sequence

_BLOCK = 1 << 16
_LONGEST_LINE = 16 << 20  # the raw times of a measurement are a single line
_MOST_UNREAD = 8 << 20
_LINE_COSTS = 64  # bytes of memory, even for an empty line
_ERRORS_KEPT = 1 << 14
_SECONDS_TO_EXIT = 5.0
_SECONDS_BETWEEN_LOOKS = 0.05


class ConnectionClosedError(Exception):
    """The process has ended, or has closed its output."""


class ResponseTimeoutError(Exception):
    """The process did not do what was waited for within the timeout, whatever else it did."""


class Channel:
    """One process. Its output is read while we write, so that neither side blocks the other.

    However much it prints, this takes a bounded amount of memory, and no disk: of its standard
    error only the end is kept, and of its output no more is read than what waits to be used.
    """

    def __init__(self, command: Sequence[str]) -> None:
        """Start `command` in its own session, so that Ctrl-C in the terminal reaches only us.

        Raises:
            FileNotFoundError: the program is not installed.
        """
        self._process = subprocess.Popen(
            list(command),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            bufsize=0,
            start_new_session=True,
        )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        assert self._process.stderr is not None
        self._input, self._output = self._process.stdin, self._process.stdout
        self._errors = self._process.stderr
        os.set_blocking(self._input.fileno(), False)
        self._unfinished = bytearray()
        self._lines: deque[bytes] = deque()
        self._unread = 0
        self._last_errors = bytearray()
        self._ended = self._errors_ended = False
        self._end: tuple[int, str] | None = None

    @property
    def has_line(self) -> bool:
        """Whether `line` would return at once."""
        return bool(self._lines)

    def line(self, timeout: float) -> bytes:
        """The next line, without its newline.

        Raises:
            ConnectionClosedError: there is none.
            ResponseTimeoutError: it did not arrive within `timeout` seconds. A line that has
                arrived already is always returned.
        """
        left = _countdown(timeout)
        while not self._lines:
            if self._ended:
                raise ConnectionClosedError
            self._step(memoryview(b""), next(left))
        line = self._lines.popleft()
        self._unread -= len(line) + _LINE_COSTS
        return line

    def send(self, data: bytes, timeout: float) -> None:
        """Write all of `data`.

        Raises:
            ConnectionClosedError: the process no longer reads.
            ResponseTimeoutError: it did not read all of it within `timeout` seconds.
        """
        rest, left = memoryview(data), _countdown(timeout)
        while rest:
            rest = rest[self._step(rest, next(left)) :]

    def send_until_line(self, data: memoryview, timeout: float) -> memoryview:
        """Write `data` until a line arrives; returns what is left to write.

        Raises:
            ConnectionClosedError, ResponseTimeoutError: as `send`.
        """
        left = _countdown(timeout)
        while data and not self._lines:
            data = data[self._step(data, next(left)) :]
        return data

    def close(self) -> tuple[int, str]:
        """End the process, by closing its input or, failing that, by a signal.

        Returns:
            Its exit code, and the end of its standard error.
        """
        if self._end is None:
            for stream in (self._input, self._output):
                stream.close()
            code = self._wait()
            for _ in range(_MOST_UNREAD // _BLOCK):  # another process may have them too, and write
                if not self._read_errors(0.0):
                    break
            self._errors.close()
            self._end = code, self._last_errors.decode(errors="replace")
        return self._end

    def _wait(self) -> int:
        for force in (self._process.terminate, self._process.kill):
            left = _countdown(_SECONDS_TO_EXIT)
            try:
                while self._process.poll() is None and not self._errors_ended:
                    # it may not end before it has written all of its errors
                    self._read_errors(min(_SECONDS_BETWEEN_LOOKS, next(left)))
                return self._process.wait(next(left))
            except (ResponseTimeoutError, subprocess.TimeoutExpired):
                force()
        return self._process.wait()

    def _step(self, outgoing: memoryview, timeout: float) -> int:
        """Read whatever has arrived and write as much as fits; returns the bytes written."""
        poll = select.poll()
        if not self._ended and self._unread < _MOST_UNREAD:
            poll.register(self._output, select.POLLIN)
        if not self._errors_ended:
            poll.register(self._errors, select.POLLIN)
        if outgoing:
            poll.register(self._input, select.POLLOUT)
        ready = dict(poll.poll(timeout * 1000))
        if not ready:
            raise ResponseTimeoutError
        if self._errors.fileno() in ready:
            self._read_errors(0.0)
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
            self._finish_line(line)
        self._unfinished += rest
        if len(self._unfinished) > _LONGEST_LINE:
            self._finish_line(b"")

    def _finish_line(self, end: bytes) -> None:
        line = bytes(self._unfinished) + end
        self._lines.append(line)
        self._unread += len(line) + _LINE_COSTS
        self._unfinished.clear()

    def _read_errors(self, timeout: float) -> bool:
        """Read what arrives within `timeout` seconds on standard error; returns whether any did."""
        poll = select.poll()
        poll.register(self._errors, select.POLLIN)
        if self._errors_ended or not poll.poll(timeout * 1000):
            return False
        block = os.read(self._errors.fileno(), _BLOCK)
        self._errors_ended = not block
        self._last_errors += block
        del self._last_errors[:-_ERRORS_KEPT]
        return bool(block)


def _countdown(timeout: float) -> Iterator[float]:
    """What is left of `timeout` seconds; the first time, even if that is nothing.

    Raises:
        ResponseTimeoutError: nothing is left.
    """
    until = time.monotonic() + timeout
    yield max(0.0, timeout)
    while (left := until - time.monotonic()) > 0:
        yield left
    raise ResponseTimeoutError
