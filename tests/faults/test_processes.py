"""Several commands in one run folder, and a killed process of a pair of which one waits."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from commands import RUN, Attempt, Warm
from end_state import differences, end_state
from processes import await_end_of_session, members
from project import Project

PATIENCE = 60.0


def test_commands_that_start_at_once(undisturbed: Project, warm: Warm, tmp_path: Path) -> None:
    """One works and the others are refused, or come when it is done."""
    project = undisturbed.copy_to(tmp_path / "project")
    for stage in ("measure", "gate", "bundle", "report"):
        shutil.rmtree(project.run_folder / stage)
    ended = warm.run_together([Attempt(project, RUN)] * 3)
    assert 0 in {each.code for each in ended}
    for each in ended:
        assert each.code in (0, 4), each.told
        # the one that works may not have said yet which process it is
        busy = re.search(r"This run folder is in use by (process \d+|another process)", each.err)
        assert (each.code == 4) is bool(busy), each.told
        assert "Traceback" not in each.err and each.orphans == [], each.told
    assert project.drafts() == []
    assert differences(end_state(project), end_state(undisturbed)) == []


@pytest.mark.parametrize("victim", ["the command", "its worker"])
def test_one_of_two_processes_is_killed(undisturbed: Project, tmp_path: Path, victim: str) -> None:
    """A comparison runs in a process of its own; neither outlives the other."""
    project = undisturbed.copy_to(tmp_path / "project")
    command = ("validate", *RUN[1:], "--set", "quantize.compare=[quantize_static]")
    process = project.start(*command)
    worker = awaited(lambda: worker_of(process.pid), lambda: process.poll() is None)
    os.kill(worker if victim == "its worker" else process.pid, signal.SIGKILL)
    process.wait(timeout=500)
    left = await_end_of_session(process.pid, PATIENCE)
    for orphan in members(process.pid):
        os.kill(orphan, signal.SIGKILL)  # or its end of the pipes would stay open
    out, err = process.communicate(timeout=500)
    assert left == [], err
    assert "Traceback" not in err, err
    if victim == "its worker":
        assert process.returncode == 4, (out, err)
        assert "quantize_static" in err and "This is a bug" not in err
        assert project.drafts() == []
    assert not (project.run_folder / "post_training").exists()


def worker_of(command: int) -> int | None:
    """The process that `command` has spawned, once it works.

    Before that, it waits for what the command sends, and Python itself complains if that ends.
    """
    for number, line in members(command).items():
        if number != command and "spawn_main" in line and "onnxruntime" in loaded(number):
            return number
    return None


def loaded(number: int) -> str:
    """The libraries that a process has loaded; none if it is over."""
    with contextlib.suppress(OSError):
        return Path(f"/proc/{number}/maps").read_text(errors="replace")
    return ""


def awaited(found: Callable[[], int | None], goes_on: Callable[[], bool]) -> int:
    while (value := found()) is None:
        assert goes_on(), "it ended before"
        time.sleep(0.005)
    return value
