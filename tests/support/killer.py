"""Sending a signal at an exact point of a run: before its n-th change to the files of a stage.

Python's audit hooks announce every file that is opened, made, renamed or removed. Counting those
that change the run folder gives a clock that does not depend on the speed of the machine, so that
a kill can be repeated exactly.
"""

from __future__ import annotations

import os
import re
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

SWEEP, PUBLISH = "sweep", "publish"
RENAME, CHECKPOINT = "os.rename", "checkpoint"
_CHANGES = {"open", "os.mkdir", RENAME, "os.remove", "os.rmdir", "os.chmod", "os.truncate"}
_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT
_DRAFT = re.compile(r"^\.(.+)-draft-\w+$")


def install(plan: dict[str, Any] | None, tell: int) -> None:
    """Follow `plan` in this process; `tell` is the pipe to write to when its point is reached.

    The plan names the run's folder, the order of the stages, and the stage, the operation (None
    for any), its number and the signal. A run that passes the point unseen, because it resumed
    from a checkpoint behind it, gets the signal at its next change of a file. With a delay the
    signal is left to the reader of the pipe.
    """
    if plan is None:
        return
    clock, fired = _Clock(Path(plan["run_folder"]), plan["stages"]), False
    due = plan["stages"].index(plan["stage"])

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        nonlocal fired
        if fired or event not in _CHANGES or clock.owner != os.getpid():
            return
        point = clock.tick(event, arguments)
        if point is None:
            return
        stage, operation, path = point
        of_its_kind = plan["operation"] and stage != SWEEP
        number = clock.counts[stage, operation if of_its_kind else None]
        if stage == SWEEP:
            reached = number == plan["sweep"]
        elif stage == plan["stage"]:
            reached = plan["operation"] in (None, operation) and number >= plan["number"]
        else:
            reached = plan["stages"].index(stage) > due
        if reached:
            fired = True
            os.write(tell, f"{stage}\t{operation}\t{number}\t{path}\n".encode())
            if not plan["delay"]:
                os.kill(os.getpid(), plan["signal"])

    sys.addaudithook(hook)


class _Clock:
    """Counts the changes of each stage, by their kinds and together."""

    def __init__(self, run_folder: Path, stages: Sequence[str]) -> None:
        self.owner = os.getpid()
        self.counts: Counter[tuple[str, str | None]] = Counter()
        self._root = run_folder.resolve()
        self._stages = stages
        self._swept = False

    def tick(self, event: str, arguments: tuple[Any, ...]) -> tuple[str, str, str] | None:
        """Stage, operation and path of a change to the run folder; None for anything else."""
        changed = _changed(event, arguments)
        if changed is None or self._root not in changed.parents:
            return None
        path = changed.relative_to(self._root)
        parts = [_DRAFT.sub(r"\1", part) for part in path.parts]
        if parts[0] == "checkpoints":
            stage, operation = re.split(r"-[0-9a-f]{12}-", parts[-1])[0], CHECKPOINT
        else:
            stage, operation = self._stage_of(parts), event
        if event in ("open", "os.mkdir") and path.name != ".lock":
            self._swept = True
        if not self._swept and event in ("os.remove", "os.rmdir"):
            stage = SWEEP
        if stage not in self._stages:
            return None
        self.counts[stage, operation] += 1
        self.counts[stage, None] += 1
        return stage, operation, str(path)

    def _stage_of(self, parts: list[str]) -> str:
        if len(parts) == 1 and "." in parts[0].lstrip("."):  # such as report.html
            return PUBLISH
        nested = "/".join(parts[:2])
        return nested if nested in self._stages else parts[0]


def _changed(event: str, arguments: tuple[Any, ...]) -> Path | None:
    """The full path that an audit event is about to change."""
    path = arguments[0]
    if isinstance(path, int) or (event == "open" and not arguments[2] & _WRITING):
        return None
    name = Path(os.fsdecode(path))
    # rmtree names what it removes relative to an open folder
    if event in ("os.remove", "os.rmdir") and arguments[1] not in (-1, None):
        name = Path(f"/proc/self/fd/{arguments[1]}").readlink() / name
    return name.parent.resolve() / name.name
