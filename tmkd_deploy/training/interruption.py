"""Ctrl-C between two steps of a training, and never within one."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator
from types import FrameType


class Interruption:
    """Whether somebody asked the training to stop."""

    def __init__(self) -> None:
        self.asked = False


@contextlib.contextmanager
def held_back() -> Iterator[Interruption]:
    """Note SIGINT and SIGTERM instead of raising; a second one raises at once.

    The caller raises KeyboardInterrupt when it has seen `asked`. Only a program's main thread may
    listen to signals, so in any other this does nothing.
    """
    interruption = Interruption()
    if threading.current_thread() is not threading.main_thread():
        yield interruption
        return

    def note(number: int, frame: FrameType | None) -> None:
        if interruption.asked:
            raise KeyboardInterrupt
        interruption.asked = True

    before = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield interruption
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
