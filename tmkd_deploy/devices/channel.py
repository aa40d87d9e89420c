"""A program whose input we write and whose lines we read, neither of which may wait for ever."""

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
_SECONDS_TO_END = 5.0


class ConnectionClosedError(Exception):
    """The program has ended, or has closed its output."""


class ResponseTimeoutError(Exception):
    """The program neither said nor took anything for as long as it was waited for."""


class Channel:
    """One process. What it says is read while we write, so that neither side blocks the other."""

    def __init__(self, command: Sequence[str]) -> None:
        """Start `command`, apart from the terminal, whose Ctrl-C is ours to handle.

        Raises:
            FileNotFoundError: there is no such program.
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
        """Whether `line` would answer at once."""
        return bool(self._lines)

    def line(self, timeout: float) -> bytes:
        """The next line, without its end.

        Raises:
            Dropped: there will be none.
            Silent: nothing came for `timeout` seconds.
        """
        while not self._lines:
            if self._ended:
                raise ConnectionClosedError
            self._step(memoryview(b""), timeout)
        return self._lines.popleft()

    def send(self, data: bytes, timeout: float) -> None:
        """Write all of `data`.

        Raises:
            Dropped: the program reads no more.
            Silent: it took nothing for `timeout` seconds.
        """
        rest = memoryview(data)
        while rest:
            rest = rest[self._step(rest, timeout) :]

    def send_until_line(self, data: memoryview, timeout: float) -> memoryview:
        """Write `data`, but stop where a line comes; returns what was not written.

        Raises:
            Dropped, Silent: as for `send`.
        """
        while data and not self._lines:
            data = data[self._step(data, timeout) :]
        return data

    def close(self) -> tuple[int, str]:
        """End the program, by ending its input or else by force.

        Returns: its exit code, and the last of what it wrote on its standard error.
        """
        if self._end is None:
            for stream in (self._input, self._output):
                stream.close()
            self._end = self._wait(), self._last_errors()
            self._errors.close()
        return self._end

    def _wait(self) -> int:
        for end_it in (self._process.terminate, self._process.kill):
            try:
                return self._process.wait(_SECONDS_TO_END)
            except subprocess.TimeoutExpired:
                end_it()
        return self._process.wait()

    def _last_errors(self) -> str:
        size = self._errors.seek(0, os.SEEK_END)
        self._errors.seek(max(0, size - _ERRORS_KEPT))
        return self._errors.read().decode(errors="replace")

    def _step(self, outgoing: memoryview, timeout: float) -> int:
        """Read what has come and write what is taken; returns how many bytes were written."""
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
