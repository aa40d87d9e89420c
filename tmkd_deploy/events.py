"""How stages tell the world what they are doing without knowing who listens."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Protocol, TypeVar

T = TypeVar("T")


class Task(Protocol):
    """One piece of long work with a known number of steps."""

    def advance(self, steps: int = 1, **figures: float) -> None:
        """`steps` more are done; `figures` (a loss, say) are shown beside the bar."""

    def finish(self) -> None:
        """The work is over, complete or not."""


class Events(Protocol):
    """The listener a stage reports to."""

    def begin(self, description: str, total: int, unit: str) -> Task:
        """Announce `total` steps of long work, counted in `unit`."""

    def say(self, message: str) -> None:
        """One complete sentence worth reading by whoever waits."""

    def warn(self, message: str) -> None:
        """One complete sentence about something that may spoil the result."""


class _SilentTask:
    def advance(self, steps: int = 1, **figures: float) -> None:
        pass

    def finish(self) -> None:
        pass


class SilentEvents:
    """A listener for tests and for programs that want no news."""

    def begin(self, description: str, total: int, unit: str) -> Task:
        """A task that shows nothing."""
        return _SilentTask()

    def say(self, message: str) -> None:
        """Drop the message."""

    def warn(self, message: str) -> None:
        """Drop the warning."""


def track(
    events: Events, items: Iterable[T], description: str, total: int, unit: str
) -> Iterator[T]:
    """Yield `items` while one step of progress is reported after each."""
    task = events.begin(description, total, unit)
    try:
        for item in items:
            yield item
            task.advance()
    finally:
        task.finish()
