"""How an agent is started, and what it means if it ends early; here on this machine."""

from __future__ import annotations

import signal
import sys
from typing import Protocol

from tmkd_deploy.devices.payload import LOADER, PROCESS_NAME
from tmkd_deploy.errors import EnvironmentProblem
from tmkd_deploy.printable import printable as escaped

SHOWN_CHARACTERS = 200
_ON_ONE_LINE = str.maketrans("\t\n\r\xa0", "    ")


class Route(Protocol):
    """How to start the agent on one device."""

    def command(self) -> list[str]:
        """The command that runs `payload.LOADER` on the device, over our pipes."""

    def explain(self, code: int, stderr: str, *, greeted: bool) -> EnvironmentProblem:
        """Why that command ended; `greeted` tells whether the agent had already answered."""


class DeviceUnreachable(EnvironmentProblem):
    """The device cannot be reached, perhaps only temporarily."""


def agent_killed(where: str) -> EnvironmentProblem:
    """The agent was ended by a signal that cannot be caught."""
    return EnvironmentProblem(
        "The agent on the device was killed, most likely because memory ran out.",
        where=where,
        advice="Check the end of `sudo dmesg` there. Close other programs, lower the workspace or "
        "the image size, or add swap space, then run again; finished stages are kept.",
    )


def agent_exited(where: str, code: int, stderr: str) -> EnvironmentProblem:
    """The agent, or whatever should have started it, exited without an answer."""
    last = last_line(stderr)
    return EnvironmentProblem(
        f"The agent on the device exited with exit code {code}"
        + (f', after printing "{last}".' if last else " and no output."),
        where=where,
        advice="Check that `python3` works on the device for this user, then run again.",
    )


def last_line(text: str) -> str:
    """The last non-blank line, made `printable`; or an empty string."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return printable(lines[-1], SHOWN_CHARACTERS) if lines else ""


def printable(text: str, limit: int | None = None) -> str:
    """Untrusted text on one line, of at most `limit` characters, escaped where it has no shape."""
    return escaped(text.translate(_ON_ONE_LINE), limit)


class LocalRoute:
    """This machine, with the Python that runs this process."""

    def command(self) -> list[str]:
        """See `Route`."""
        return [sys.executable, "-c", LOADER, PROCESS_NAME]

    def explain(self, code: int, stderr: str, *, greeted: bool) -> EnvironmentProblem:
        """See `Route`."""
        if code == -signal.SIGKILL:
            return agent_killed("local")
        return agent_exited("local", code, stderr)
