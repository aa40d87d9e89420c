"""The output to the host: JSON lines, from any thread."""

from __future__ import annotations

import json
import threading
import time
from typing import Any

from tmkd_deploy.agent import SCHEMA
from tmkd_deploy.agent.agent_errors import AgentError, HostDisconnectedError

_SECONDS_BETWEEN_PROGRESS = 0.2


class Writer:
    """Writes messages to the file descriptor `out`; `request` is the id of the current request."""

    def __init__(self, out: int) -> None:
        self._out = open(out, "wb")  # noqa: SIM115 - open as long as the process lives
        self._lock = threading.Lock()
        self._last_progress = 0.0
        self.request: int | None = None

    def send(self, kind: str, **fields: Any) -> None:
        """Send one message of this type.

        Raises:
            HostDisconnectedError: the host no longer reads.
        """
        line = {"tmkd": SCHEMA, "type": kind, **fields}
        text = json.dumps(line, separators=(",", ":"), allow_nan=False)
        try:
            with self._lock:
                self._out.write(text.encode("utf-8") + b"\n")
                self._out.flush()
        except BrokenPipeError as error:
            raise HostDisconnectedError from error

    def progress(self, done: int, total: int, unit: str, say: str | None = None) -> None:
        """Report how much of the request is done; sends at most a few messages per second."""
        now = time.monotonic()
        if done < total and now - self._last_progress < _SECONDS_BETWEEN_PROGRESS:
            return
        self._last_progress = now
        fields: dict[str, Any] = {"done": done, "total": total, "unit": unit}
        if say is not None:
            fields["say"] = say
        self.send("progress", id=self.request, **fields)

    def say(self, text: str) -> None:
        """Send the host a line to show."""
        self.send("say", id=self.request, text=text)

    def warn(self, text: str) -> None:
        """Send the host a warning."""
        self.send("warn", id=self.request, text=text)

    def error(self, error: AgentError) -> None:
        """End the current request with an error."""
        self.send(
            "error",
            id=self.request,
            code=error.code,
            problem=error.problem,
            where=error.where,
            advice=error.advice,
        )
