"""A listener that remembers what it was told."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


class RecordedEvents:
    """Events and task in one. `at_first_progress` is called once, when long work has begun."""

    def __init__(self, at_first_progress: Callable[[], object] = lambda: None) -> None:
        self.told: list[tuple[Any, ...]] = []
        self._at_first_progress: Callable[[], object] | None = at_first_progress

    @property
    def warnings(self) -> list[str]:
        return [message for kind, *rest in self.told if kind == "warn" for message in rest]

    def begin(self, description: str, total: int, unit: str) -> RecordedEvents:
        self.told.append(("begin", description, total, unit))
        return self

    def advance(self, steps: int = 1, **figures: float) -> None:
        self.told.append(("advance", steps))
        if self._at_first_progress is not None:
            act, self._at_first_progress = self._at_first_progress, None
            act()

    def finish(self) -> None:
        self.told.append(("finish",))

    def say(self, message: str) -> None:
        self.told.append(("say", message))

    def warn(self, message: str) -> None:
        self.told.append(("warn", message))
