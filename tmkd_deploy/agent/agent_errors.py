"""The errors that the agent reports to the host."""

from __future__ import annotations

import contextlib
import errno
from typing import Iterator

from tmkd_deploy.runtime.engine_errors import EngineError, EngineMemoryError
from tmkd_deploy.runtime.onnx_check import UnsafeModelError

# Every error code; the host maps each to one of its own exceptions.
REQUEST = "request"
ENVIRONMENT = "environment"
DATA = "data"
BUSY = "busy"
OUT_OF_MEMORY = "out_of_memory"
DISK_FULL = "disk_full"

PROTOCOL_MISMATCH_ADVICE = (
    "Host and agent speak different protocols. Reinstall tmkd-deploy; if this persists, report it."
)


class AgentError(Exception):
    """Why a request failed, where, and what to do; `code` is one of those above."""

    def __init__(self, code: str, problem: str, where: str | None = None, advice: str = "") -> None:
        super().__init__(problem)
        self.code = code
        self.problem = problem
        self.where = where
        self.advice = advice


class HostDisconnectedError(Exception):
    """The host closed or lost the connection."""


def from_os_error(error: OSError) -> AgentError:
    """The `AgentError` that reports an operating-system error."""
    where = str(error.filename) if error.filename else None
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return AgentError(
            DISK_FULL,
            "The device's disk is full.",
            where,
            "Free some space on the device, then run again; files already sent are kept.",
        )
    return AgentError(
        ENVIRONMENT,
        f"The device's operating system reported an error: {error.strerror or error}.",
        where,
        "On the device, check that the path exists and that this user can read and write it.",
    )


def from_engine_error(error: EngineError | UnsafeModelError) -> AgentError:
    """The `AgentError` that reports an error of a runtime or an engine."""
    if isinstance(error, UnsafeModelError):
        return AgentError(
            DATA, f"The model {error.what}, so it is not run.", None, "Export the student again."
        )
    code = OUT_OF_MEMORY if isinstance(error, EngineMemoryError) else ENVIRONMENT
    return AgentError(code, error.problem, None, error.advice)


@contextlib.contextmanager
def engine_errors_translated() -> Iterator[None]:
    """Within it, an error of a runtime or an engine becomes an `AgentError`."""
    try:
        yield
    except (EngineError, UnsafeModelError) as error:
        raise from_engine_error(error) from error
