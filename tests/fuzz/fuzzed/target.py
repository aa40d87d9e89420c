"""One kind of untrusted input."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hypothesis.strategies import SearchStrategy

Attempts = Iterator[Callable[[], object]]


def nothing_documented() -> tuple[type[BaseException], ...]:
    """For targets whose attempts check their own results."""
    return ()


@dataclass(frozen=True)
class Target:
    """One kind of untrusted input.

    Attributes:
        name: of the target.
        cases: makes the strategy; cases are plain values that can be pickled.
        example: a valid case, which no attempt refuses.
        attempts: the functions that a case is fed to, given the case and an empty folder.
        errors: the exceptions that the functions document; imported late.
        share: of all cases of a run, in relation to the other targets'.
        processes: whether the functions start programs.
        needs: packages without which the target is left out.
        seconds: after which a case counts as a hang.
    """

    name: str
    cases: Callable[[], SearchStrategy[Any]]
    example: Callable[[], Any]
    attempts: Callable[[Any, Path], Attempts]
    errors: Callable[[], tuple[type[BaseException], ...]]
    share: float = 1.0
    processes: bool = False
    needs: tuple[str, ...] = ()
    seconds: float = 30.0

    @property
    def documented(self) -> tuple[type[BaseException], ...]:
        """The documented exceptions."""
        return self.errors()


def tmkd_errors() -> tuple[type[BaseException], ...]:
    """Those of the whole package."""
    from tmkd_deploy.errors import TmkdError

    return (TmkdError,)


def runtime_errors() -> tuple[type[BaseException], ...]:
    """Those of the runtime, which applications see."""
    from tmkd_deploy.runtime import BundleError, UnreadableImage

    return (BundleError, UnreadableImage)


def agent_errors() -> tuple[type[BaseException], ...]:
    """What the agent reports to its host without calling it unexpected."""
    from tmkd_deploy.agent.agent_errors import AgentError, HostDisconnectedError

    return (AgentError, HostDisconnectedError, ImportError, OSError)
