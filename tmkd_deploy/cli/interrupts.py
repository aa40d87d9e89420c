"""Handle Ctrl-C and SIGTERM at any time, even while a C++ extension is being imported."""

from __future__ import annotations

import signal
from types import FrameType

_IMPORTING = "<frozen importlib._bootstrap>"
_RETRY_SECONDS = 0.05


def install() -> None:
    """Turn SIGINT and SIGTERM into KeyboardInterrupt from now on."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGALRM):
        signal.signal(number, _interrupt)


def ignore() -> None:
    """Ignore them: the work is done, and Python's shutdown must not change the exit code."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGALRM):
        signal.signal(number, signal.SIG_IGN)


def _interrupt(number: int, frame: FrameType | None) -> None:
    """Raise now, or as soon as no import is running.

    An exception that passes through a C++ extension while it loads would kill the process.
    """
    if _is_importing(frame):
        signal.setitimer(signal.ITIMER_REAL, _RETRY_SECONDS)
        return
    raise KeyboardInterrupt


def _is_importing(frame: FrameType | None) -> bool:
    while frame is not None:
        if frame.f_code.co_filename == _IMPORTING:
            return True
        frame = frame.f_back
    return False
