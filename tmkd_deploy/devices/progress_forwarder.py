"""Forwards an agent's progress and messages to the events of this process."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tmkd_deploy.events import Events, Task

_MEGABYTE = 1 << 20


class ProgressForwarder:
    """A listener for one request: `description` labels its bar, `where` prefixes its messages."""

    def __init__(self, events: Events, description: str, where: str) -> None:
        self._events, self._description, self._where = events, description, where
        self._task: Task | None = None
        self._shown: tuple[str, int, str] | None = None
        self._done = 0

    def __call__(self, message: Mapping[str, Any]) -> None:
        """Forward one message; heartbeats are dropped."""
        if message.get("type") == "progress":
            self._progress(message)
        elif message.get("type") == "say":
            self._events.say(f"{self._where}: {message['text']}")
        elif message.get("type") == "warn":
            self._events.warn(f"{self._where}: {message['text']}")

    def finish(self) -> None:
        """End the bar, because the request is over."""
        if self._task is not None:
            self._task.finish()
            self._task = None

    def _progress(self, message: Mapping[str, Any]) -> None:
        done, total, unit = message["done"], message["total"], message["unit"]
        if unit == "bytes":
            done, total, unit = done // _MEGABYTE, -(-total // _MEGABYTE), "MB"
        shown = (message.get("say") or self._description, total, unit)
        if self._task is None or shown != self._shown or done < self._done:
            self.finish()
            self._task = self._events.begin(f"{shown[0]} ({self._where})", total, unit)
            self._shown, self._done = shown, 0
        if done > self._done:
            self._task.advance(done - self._done)
            self._done = done
