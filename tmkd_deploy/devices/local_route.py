"""The agent as a process of this machine, for a device that runs the whole package itself."""

from __future__ import annotations

import signal
import sys

from tmkd_deploy.devices.payload import LOADER, PROCESS_NAME
from tmkd_deploy.devices.routes import agent_exited, agent_killed
from tmkd_deploy.errors import EnvironmentProblem


class LocalRoute:
    """This machine, with the Python that runs us."""

    def command(self) -> list[str]:
        """See `Route`."""
        return [sys.executable, "-c", LOADER, PROCESS_NAME]

    def explain(self, code: int, stderr: str, *, greeted: bool) -> EnvironmentProblem:
        """See `Route`."""
        if code == -signal.SIGKILL:
            return agent_killed("local")
        return agent_exited("local", code, stderr)
