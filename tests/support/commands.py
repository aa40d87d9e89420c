"""Commands of the warm Python, and what became of them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from project import Done, Project

WARM_PYTHON = Path(__file__).with_name("warm_python.py")
# One target, whose verdict and shipped engine do not depend on how fast this machine is.
RUN = (
    "run",
    *("--target", "cpu", "--set", "targets.cpu.precisions=[int8]"),
    *("--set", "training.checkpoint_steps=10"),
)


def kill_plan(
    project: Project,
    stage: str,
    signal: int,
    *,
    stages: Sequence[str] | None = None,
    operation: str | None = None,
    number: int = 1,
    delay: float = 0.0,
    sweep: int = 0,
) -> dict[str, Any]:
    """When a command is sent a signal, as `killer.install` reads it; `stages` is `stage` alone."""
    return {
        "run_folder": str(project.run_folder),
        "stages": [stage] if stages is None else list(stages),
        "stage": stage,
        "operation": operation,
        "number": number,
        "delay": delay,
        "signal": int(signal),
        "sweep": sweep,
    }


@dataclass(frozen=True)
class Attempt:
    """One command to start, and when to kill it; `setup` is code that runs in it beforehand."""

    project: Project
    arguments: Sequence[str]
    kill: Mapping[str, Any] | None = None
    environment: Mapping[str, str] = field(default_factory=dict)
    setup: str = ""


@dataclass(frozen=True)
class Ended(Done):
    """How it ended: a negative code is a signal. `event` is the file change that the kill was set
    to, `orphans` are the processes of its session that outlived it for a minute."""

    event: str | None
    orphans: list[str]


class Warm:
    """The warm Python; `folder` takes logs and stands in for the user's home."""

    def __init__(self, folder: Path) -> None:
        self._logs = folder
        single = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
        home = folder / "home"
        home.mkdir()
        environment = {
            **os.environ,
            **dict.fromkeys(single, "1"),
            "HOME": str(home),
            # a command that is killed leaves no half of a module's bytecode
            "PYTHONDONTWRITEBYTECODE": "1",
        }
        self._errors = (folder / "warm.err").open("w+")
        self._process = subprocess.Popen(
            [sys.executable, str(WARM_PYTHON)],
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
        )
        assert self._answer() == "ready\n"

    def run(self, project: Project, *arguments: str, **options: Any) -> Ended:
        """One command, awaited."""
        (ended,) = self.run_together([Attempt(project, arguments, **options)])
        return ended

    def run_together(self, attempts: Sequence[Attempt]) -> list[Ended]:
        """Commands that start at the same moment, awaited."""
        logs = [self._logs / str(number) for number in range(len(attempts))]
        request = [
            {
                "folder": str(each.project.folder),
                "arguments": list(each.arguments),
                "kill": each.kill,
                "environment": dict(each.environment),
                "setup": each.setup,
                "log": str(log),
            }
            for each, log in zip(attempts, logs, strict=True)
        ]
        assert self._process.stdin
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        return [
            Ended(
                out=log.with_suffix(".1").read_text(errors="replace"),
                err=log.with_suffix(".2").read_text(errors="replace"),
                **reply,
            )
            for reply, log in zip(json.loads(self._answer()), logs, strict=True)
        ]

    def kill(self) -> None:
        """End it at once, whatever it does."""
        self._process.kill()
        self._process.wait()
        self._errors.close()

    def _answer(self) -> str:
        assert self._process.stdout
        line = self._process.stdout.readline()
        if not line:
            self._errors.seek(0)
            raise AssertionError(f"the warm Python has ended:\n{self._errors.read()}")
        return line
