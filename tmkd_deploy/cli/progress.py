"""Progress on standard error: moving bars on a terminal, occasional lines elsewhere."""

from __future__ import annotations

import contextlib
import os
import sys
import time
from collections.abc import Iterator

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    TextColumn,
    TimeRemainingColumn,
)
from rich.progress import Task as RichTask
from rich.text import Text

from tmkd_deploy.events import Events, Task
from tmkd_deploy.printable import printable
from tmkd_deploy.report.formatting import duration

SECONDS_BETWEEN_LINES = 5.0


@contextlib.contextmanager
def listener(quiet: bool) -> Iterator[Events]:
    """The listener that suits standard error; with `quiet`, it shows nothing but warnings."""
    if quiet:
        yield QuietEvents()
    elif sys.stderr.isatty() and os.environ.get("TERM") != "dumb":
        with BarEvents(Console(stderr=True)) as events:
            yield events
    else:
        yield LineEvents()


class QuietEvents:
    """Prints warnings only."""

    def begin(self, description: str, total: int, unit: str) -> Task:
        """Begin a task that is not shown."""
        return _Steps(description, total, unit)

    def say(self, message: str) -> None:
        """Ignore the message."""

    def warn(self, message: str) -> None:
        """Print a line."""
        _print(f"Warning: {message}")


class LineEvents(QuietEvents):
    """Prints plain lines without control codes, progress at most every `SECONDS_BETWEEN_LINES`."""

    def __init__(self) -> None:
        self._last_line = time.monotonic()

    def begin(self, description: str, total: int, unit: str) -> Task:
        """Begin a task whose progress is printed now and then."""
        return _LineTask(description, total, unit, self)

    def say(self, message: str) -> None:
        """Print a line."""
        _print(message)

    def progress(self, line: str) -> None:
        """Print `line` unless another was printed too recently."""
        now = time.monotonic()
        if now - self._last_line >= SECONDS_BETWEEN_LINES:
            self._last_line = now
            _print(line)


class BarEvents:
    """Shows a moving bar for each running task, and prints a line for each that took a while."""

    def __init__(self, console: Console) -> None:
        self._progress = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            _RateColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[figures]}", markup=False),
            console=console,
            transient=True,
        )

    def __enter__(self) -> BarEvents:
        self._progress.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._progress.stop()

    def begin(self, description: str, total: int, unit: str) -> Task:
        """Begin a task with a bar."""
        return _BarTask(description, total, unit, self._progress)

    def say(self, message: str) -> None:
        """Print a line above the bars."""
        self._print(message)

    def warn(self, message: str) -> None:
        """Print a highlighted line above the bars."""
        self._print(f"Warning: {message}", style="yellow")

    def _print(self, line: str, style: str | None = None) -> None:
        self._progress.console.print(
            printable(line, newlines=True), style=style, markup=False, highlight=False
        )


class _Steps:
    """Steps done so far, the time they took, and the latest figures."""

    def __init__(self, description: str, total: int, unit: str) -> None:
        self.description = printable(description)
        self.total = total
        self.unit = unit
        self.done = 0
        self.figures = ""
        self.started = time.monotonic()

    def advance(self, steps: int = 1, **figures: float) -> None:
        self.done += steps
        if figures:
            self.figures = "  ".join(f"{name} {value:.4g}" for name, value in figures.items())

    def finish(self) -> None:
        pass

    def seconds(self) -> float:
        return time.monotonic() - self.started


class _LineTask(_Steps):
    def __init__(self, description: str, total: int, unit: str, events: LineEvents) -> None:
        super().__init__(description, total, unit)
        self._events = events

    def advance(self, steps: int = 1, **figures: float) -> None:
        super().advance(steps, **figures)
        if self.seconds() < SECONDS_BETWEEN_LINES:
            return
        rate = self.done / max(self.seconds(), 1e-9)
        remaining = max(self.total - self.done, 0) / rate if rate else 0.0
        parts = [
            f"{self.description}: {self.done} of {self.total} {self.unit}",
            f"{rate:.3g} {self.unit}/s",
            f"{duration(remaining)} left",
            self.figures,
        ]
        self._events.progress(", ".join(part for part in parts if part))


class _BarTask(_Steps):
    def __init__(self, description: str, total: int, unit: str, progress: Progress) -> None:
        super().__init__(description, total, unit)
        self._progress = progress
        self._bar = progress.add_task(self.description, total=total, unit=unit, figures="")

    def advance(self, steps: int = 1, **figures: float) -> None:
        super().advance(steps, **figures)
        self._progress.update(self._bar, advance=steps, figures=self.figures)

    def finish(self) -> None:
        self._progress.remove_task(self._bar)
        if self.seconds() >= 1:
            line = f"{self.description}: {self.done} {self.unit} in {duration(self.seconds())}"
            self._progress.console.print(
                f"{line}  {self.figures}".rstrip(), markup=False, highlight=False
            )


class _RateColumn(ProgressColumn):
    """Steps per second, in the unit of the task."""

    def render(self, task: RichTask) -> Text:
        speed = task.finished_speed or task.speed
        return Text("" if speed is None else f"{speed:.3g} {task.fields['unit']}/s")


def _print(line: str) -> None:
    print(printable(line, newlines=True), file=sys.stderr, flush=True)
