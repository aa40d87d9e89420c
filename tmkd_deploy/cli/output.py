"""The two streams: results go to standard output, everything else to standard error.

All text is made printable on the way, except what `render` has styled for the terminal, which
makes printable what it shows.
"""

from __future__ import annotations

import json
import os
import sys
from typing import Any

from tmkd_deploy.printable import printable

_LONGEST_ERROR = 8000  # characters


def emit(text: str) -> None:
    """Print a result. A closed pipe is not an error: the work behind the result is done."""
    emit_styled(printable(text, newlines=True))


def emit_file(text: str) -> None:
    """Print the content of a file, unchanged unless it goes to a terminal."""
    emit_styled(printable(text, newlines=True) if sys.stdout.isatty() else text, end="")


def emit_styled(text: str, end: str = "\n") -> None:
    """Print a result that is printable already; it may hold the codes that colour it."""
    try:
        print(text, end=end, flush=True)
    except BrokenPipeError:
        _discard()
    except UnicodeEncodeError:
        encoding = sys.stdout.encoding
        print(text.encode(encoding, "replace").decode(encoding), end=end, flush=True)


def emit_json(value: dict[str, Any]) -> None:
    """Print one JSON object as the only result, in ASCII."""
    emit_styled(json.dumps(value, indent=1))


def error(text: str) -> None:
    """Print an error message; one that repeats endless input is cut."""
    print(printable(text, _LONGEST_ERROR, newlines=True), file=sys.stderr, flush=True)


def warn(message: str) -> None:
    """Print a warning to standard error."""
    error(f"Warning: {message}")


def flush() -> None:
    """Flush standard output, or discard it, so that the interpreter's exit cannot fail."""
    try:
        sys.stdout.flush()
    except OSError:
        _discard()


def _discard() -> None:
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
