"""The input from the host: lines of JSON and, between them, raw bytes.

A thread reads it, so that a disconnected host is noticed while a request is being served.
"""

from __future__ import annotations

import contextlib
import queue
import threading
from typing import BinaryIO, Callable, Iterator

from tmkd_deploy.agent.agent_errors import REQUEST, AgentError, HostDisconnectedError

_BLOCK = 1 << 16
_BLOCKS_AHEAD = 16
_LONGEST_LINE = 1 << 20


class Reader:
    """Reads `source`; the reading thread calls `at_end` when the input ends."""

    def __init__(self, source: BinaryIO, at_end: Callable[[], None]) -> None:
        self._source = source
        self._at_end = at_end
        self._blocks: queue.Queue[bytes] = queue.Queue(_BLOCKS_AHEAD)
        self._rest = b""
        threading.Thread(target=self._read, daemon=True).start()

    def line(self) -> bytes:
        """The next line, without its newline.

        Raises:
            HostDisconnectedError: the input has ended.
            AgentError: the line is too long.
        """
        while b"\n" not in self._rest:
            if len(self._rest) > _LONGEST_LINE:
                raise AgentError(REQUEST, "The host sent a line that is too long for a request.")
            self._rest += self._next()
        line, _, self._rest = self._rest.partition(b"\n")
        return line

    def raw(self, count: int) -> Iterator[bytes]:
        """The next `count` bytes, in blocks.

        Raises:
            HostDisconnectedError: the input ended before all of them arrived.
        """
        while count > 0:
            block = self._rest or self._next()
            block, self._rest = block[:count], block[count:]
            count -= len(block)
            yield block

    def _next(self) -> bytes:
        block = self._blocks.get()
        if not block:
            raise HostDisconnectedError
        return block

    def _read(self) -> None:
        try:
            while True:
                # read1, because the buffer may hold bytes that followed the bootstrap
                block: bytes = self._source.read1(_BLOCK)  # type: ignore[attr-defined]
                if not block:
                    break
                self._blocks.put(block)
        finally:
            # full only if nobody is reading; a reader still gets what is queued, then the end
            with contextlib.suppress(queue.Full):
                self._blocks.put_nowait(b"")
            self._at_end()
