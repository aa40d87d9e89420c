"""What the agent answers when it cannot do what it was asked."""

from __future__ import annotations

import errno

# The whole list of codes; the host turns each into an error of its own.
REQUEST = "request"
ENVIRONMENT = "environment"
DATA = "data"
BUSY = "busy"
OUT_OF_MEMORY = "out_of_memory"
DISK_FULL = "disk_full"


class AgentError(Exception):
    """What is wrong (`problem`), where, and what to do; `code` is one of the list above."""

    def __init__(self, code: str, problem: str, where: str | None = None, advice: str = "") -> None:
        super().__init__(problem)
        self.code = code
        self.problem = problem
        self.where = where
        self.advice = advice


class HostDisconnectedError(Exception):
    """The host has closed the connection, or lost it."""


def from_os_error(error: OSError) -> AgentError:
    """The `AgentError` that explains an operating-system error."""
    where = str(error.filename) if error.filename else None
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return AgentError(
            DISK_FULL,
            "There is no room left to write on the device's disk.",
            where,
            "Free some space on the device, then run again; what it holds already is kept.",
        )
    return AgentError(
        ENVIRONMENT,
        f"The device's operating system refused: {error.strerror or error}.",
        where,
        "Check on the device that the path exists and that this user may read and write it.",
    )
