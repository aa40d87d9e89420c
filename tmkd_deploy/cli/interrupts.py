"""Ctrl-C and SIGTERM at any moment, also while a library with C++ inside is being imported."""

from __future__ import annotations

import signal
from types import FrameType

_IMPORTING = "<frozen importlib._bootstrap>"
_TRY_AGAIN_SECONDS = 0.05


def listen() -> None:
    """Turn SIGINT and SIGTERM into KeyboardInterrupt from now on."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGALRM):
        signal.signal(number, _interrupt)


def stop_listening() -> None:
    """Ignore them: the work is done, and Python's own end must not change the exit code."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGALRM):
        signal.signal(number, signal.SIG_IGN)


def _interrupt(number: int, frame: FrameType | None) -> None:
    """Raise now, or as soon as no import is under way.

    An exception that passes through a C++ library while it is loaded ends the whole process.
    """
    if _is_importing(frame):
        signal.setitimer(signal.ITIMER_REAL, _TRY_AGAIN_SECONDS)
        return
    raise KeyboardInterrupt


def _is_importing(frame: FrameType | None) -> bool:
    while frame is not None:
        if frame.f_code.co_filename == _IMPORTING:
            return True
        frame = frame.f_back
    return False
