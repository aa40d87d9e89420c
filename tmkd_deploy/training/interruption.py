"""Deferring Ctrl-C and SIGTERM to the boundary between two training steps."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator
from types import FrameType


class Interruption:
    """Whether the training was asked to stop."""

    def __init__(self) -> None:
        self.requested = False


@contextlib.contextmanager
def deferred_signals() -> Iterator[Interruption]:
    """Record SIGINT and SIGTERM instead of raising; a second one raises immediately.

    The caller raises KeyboardInterrupt once `requested` is set. Python delivers signals to the main
    thread only, so in any other thread this does nothing.
    """
    interruption = Interruption()
    if threading.current_thread() is not threading.main_thread():
        yield interruption
        return

    def record(number: int, frame: FrameType | None) -> None:
        if interruption.requested:
            raise KeyboardInterrupt
        interruption.requested = True

    before = {number: signal.signal(number, record) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield interruption
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
