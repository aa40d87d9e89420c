"""How a session with a device begins, and what it means when one ends before its time."""

from __future__ import annotations

from typing import Protocol

from tmkd_deploy.errors import EnvironmentProblem

_SHOWN_LETTERS = 200


class Route(Protocol):
    """The way to one device."""

    def command(self) -> list[str]:
        """What runs `payload.LOADER` there with our pipes as its standard input and output."""

    def explain(self, code: int, stderr: str, *, greeted: bool) -> EnvironmentProblem:
        """Why that command ended; `greeted` if the agent had begun to speak."""


class DeviceUnreachable(EnvironmentProblem):
    """The device cannot be reached, perhaps only for now."""


def agent_killed(where: str) -> EnvironmentProblem:
    """The agent was ended by a signal that it cannot catch."""
    return EnvironmentProblem(
        "The agent on the device was killed, most likely because memory ran out there.",
        where=where,
        advice="Look at the end of `sudo dmesg` there. Close other programs, lower the workspace "
        "or the image size, or add swap space, then run again; what is done is kept.",
    )


def agent_exited(where: str, code: int, stderr: str) -> EnvironmentProblem:
    """The agent, or what should have started it, ended of itself without an answer."""
    last = last_line(stderr)
    return EnvironmentProblem(
        f"The agent on the device ended with exit code {code}"
        + (f' and said "{last}".' if last else " and said nothing."),
        where=where,
        advice="Check that `python3` works on the device for this user, then run again.",
    )


def last_line(text: str) -> str:
    """The last line that is not blank, as `printable` shows it; or an empty string."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return printable(lines[-1]) if lines else ""


def printable(text: str) -> str:
    """The beginning of a foreign text, without what could steer a terminal."""
    return "".join(letter if letter.isprintable() else "?" for letter in text[:_SHOWN_LETTERS])
