"""How stages report progress and messages without knowing who listens."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Protocol, TypeVar

T = TypeVar("T")


class Task(Protocol):
    """A long task with a known number of steps."""

    def advance(self, steps: int = 1, **figures: float) -> None:
        """Count `steps` more as done; `figures`, such as a loss, are shown beside the bar."""

    def finish(self) -> None:
        """End the task, complete or not."""


class Events(Protocol):
    """What a stage reports to."""

    def begin(self, description: str, total: int, unit: str) -> Task:
        """Begin a task of `total` steps, counted in `unit`."""

    def say(self, message: str) -> None:
        """Report `message`, one complete sentence."""

    def warn(self, message: str) -> None:
        """Warn with `message`, one complete sentence, of what may spoil the result."""


class _SilentTask:
    def advance(self, steps: int = 1, **figures: float) -> None:
        pass

    def finish(self) -> None:
        pass


class SilentEvents:
    """Ignores everything; for tests and for programs that show no progress."""

    def begin(self, description: str, total: int, unit: str) -> Task:
        """Begin a task that shows nothing."""
        return _SilentTask()

    def say(self, message: str) -> None:
        """Drop the message."""

    def warn(self, message: str) -> None:
        """Drop the warning."""


def track(
    events: Events, items: Iterable[T], description: str, total: int, unit: str
) -> Iterator[T]:
    """Yield `items`, and report one step of progress after each."""
    task = events.begin(description, total, unit)
    try:
        for item in items:
            yield item
            task.advance()
    finally:
        task.finish()
