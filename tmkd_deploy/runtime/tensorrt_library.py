"""TensorRT's Python module, `tensorrt` or `tensorrt_rtx`: loading it, its log and its errors."""

from __future__ import annotations

import importlib
from typing import Any

from tmkd_deploy.runtime.cuda_runtime import Cuda
from tmkd_deploy.runtime.engine_errors import EngineError, EngineMemoryError
from tmkd_deploy.runtime.engine_machine import EngineMachine

TITLES = {"tensorrt": "TensorRT", "tensorrt_rtx": "TensorRT-RTX"}


def load(runtime: str) -> Any:
    """The module of `tensorrt` or `tensorrt_rtx`.

    Raises:
        ImportError: it is not installed for this Python.
    """
    return importlib.import_module(runtime)


def version(runtime: str) -> str:
    """The installed version, such as 10.3.0; errors as `load`."""
    found: str = load(runtime).__version__
    return found


def machine(runtime: str) -> EngineMachine:
    """What a plan must have been built for to run here.

    Raises:
        RuntimeUnusableError: there is no CUDA runtime, no driver or no GPU.
        ImportError: as `load`.
    """
    return EngineMachine(version(runtime), Cuda().compute_capability())


class Log:
    """The library's log, line by line, and its errors separately."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.errors: list[str] = []

    def clear(self) -> None:
        """Delete everything logged so far."""
        self.lines.clear()
        self.errors.clear()

    def reason(self) -> str:
        """The errors on one line, for a message."""
        return "; ".join(self.errors) or "it gives no reason."


_logs: dict[str, Any] = {}


def logger(trt: Any) -> Any:
    """The process's only logger for this module, emptied: a `Log` that is also an `ILogger`.

    There is only one because the library keeps the first logger that it is given.
    """
    if trt.__name__ not in _logs:

        class Logger(Log, trt.ILogger):  # type: ignore[misc]
            def __init__(self) -> None:
                trt.ILogger.__init__(self)
                Log.__init__(self)

            def log(self, severity: Any, message: str) -> None:
                self.lines.extend(message.splitlines())
                if severity in (trt.ILogger.ERROR, trt.ILogger.INTERNAL_ERROR):
                    self.errors.append(message.strip())

        _logs[trt.__name__] = Logger()
    _logs[trt.__name__].clear()
    return _logs[trt.__name__]


def failure(kind: type[EngineError], problem: str, log: Log, advice: str) -> EngineError:
    """An error of a kind with the library's own message, or that memory is short if it says so."""
    words = log.reason()
    if "outofmemory" in words.lower().replace(" ", ""):
        return EngineMemoryError(
            f"{problem} {words}",
            "Close other programs on the device (a desktop takes about 1 GB), add swap space, or "
            "lower the workspace.",
        )
    return kind(f"{problem} {words}", advice)
