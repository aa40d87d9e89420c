"""The log of TensorRT's builder, written to a file as it arrives.

At full detail, which the layers and the DLA's refusals are read from, it grows with the network and
with the kernels tried: memory that the builder itself needs on a small device.
"""

from __future__ import annotations

from pathlib import Path
from typing import IO, Any, Iterator

_ERRORS_KEPT = 50
_ERROR_LENGTH = 2000


class BuilderLog:
    """The file at `path`; in memory, only the first errors. `start` comes first."""

    def __init__(self) -> None:
        self.errors: list[str] = []
        self.path = Path()
        self._file: IO[str] | None = None

    def start(self, path: Path) -> None:
        """Begin an empty log at `path`."""
        self.end()
        self.errors.clear()
        self.path = path
        # a line at a time, so that the log of a builder that is killed remains
        self._file = path.open("w", buffering=1, encoding="utf-8", errors="replace")

    def add(self, message: str, is_error: bool) -> None:
        """Write a message, of one or more lines."""
        if self._file is not None:
            self._file.write(message + "\n")
        if is_error and len(self.errors) < _ERRORS_KEPT:
            self.errors.append(message.strip()[:_ERROR_LENGTH])

    def lines(self) -> Iterator[str]:
        """What was written, line by line."""
        with self.path.open(encoding="utf-8") as file:
            yield from file

    def reason(self) -> str:
        """The errors on one line, for a message."""
        return "; ".join(self.errors) or "it gives no reason."

    def end(self) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()
            self._file = None


_logs: dict[str, Any] = {}


def builder_log(trt: Any, path: Path) -> Any:
    """A `BuilderLog` at `path` that is also an `ILogger` of this module.

    There is one per module, kept for ever: the library keeps the first logger that it is given.
    """
    if trt.__name__ not in _logs:

        class Logger(BuilderLog, trt.ILogger):  # type: ignore[misc]
            def __init__(self) -> None:
                trt.ILogger.__init__(self)
                BuilderLog.__init__(self)

            def log(self, severity: Any, message: str) -> None:
                self.add(message, severity in (trt.ILogger.ERROR, trt.ILogger.INTERNAL_ERROR))

        _logs[trt.__name__] = Logger()
    log = _logs[trt.__name__]
    log.start(path)
    return log
