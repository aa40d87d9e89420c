"""A clock that jumps, files from the future, and a project that was moved: nothing is lost."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
from commands import RUN, Warm
from end_state import differences, end_state
from project import Project

# Each look at the time of day is years before or after the last; monotonic time goes on.
JUMPING = """
import datetime, itertools, time

YEARS = 365 * 86400
jumps = itertools.cycle((-30 * YEARS, 20 * YEARS, 0, -YEARS))
real_time, real_time_ns, Real = time.time, time.time_ns, datetime.datetime
time.time = lambda: real_time() + next(jumps)
time.time_ns = lambda: real_time_ns() + next(jumps) * 10**9

class Jumping(Real):
    @classmethod
    def now(cls, tz=None):
        return Real.now(tz) + datetime.timedelta(seconds=next(jumps))

datetime.datetime = Jumping
"""


def date_everything(folder: Path, seconds: int) -> None:
    for path in (folder, *folder.rglob("*")):
        os.utime(path, (seconds, seconds))


def assert_nothing_runs(warm: Warm, project: Project, *arguments: str) -> None:
    before = project.content()
    ended = warm.run(project, *RUN, "--json", *arguments)
    assert ended.code == 0, ended.told
    assert all(ended.reused().values()), ended.reused()
    assert project.content() == before


@pytest.mark.parametrize("year", [1970, 2100])
def test_a_run_folder_of_another_time(
    undisturbed: Project, warm: Warm, tmp_path: Path, year: int
) -> None:
    project = undisturbed.copy_to(tmp_path / "project")
    date_everything(project.folder, (year - 1970) * 365 * 86400)
    assert_nothing_runs(warm, project)


def test_a_clock_that_jumps_during_a_run(undisturbed: Project, warm: Warm, tmp_path: Path) -> None:
    project = undisturbed.copy_to(tmp_path / "project")
    for stage in ("prepare", "build", "measure", "gate", "bundle", "report"):
        shutil.rmtree(project.run_folder / stage)
    ended = warm.run(project, *RUN, setup=JUMPING)
    assert ended.code == 0, ended.told
    assert "Traceback" not in ended.err
    created = {project.manifest(each)["created"][:4] for each in ("prepare", "gate/cpu", "report")}
    assert len(created) > 1, "the clock did not jump"
    assert differences(end_state(project), end_state(undisturbed)) == []
    assert_nothing_runs(warm, project)


def test_a_moved_project_and_a_moved_run_folder(
    undisturbed: Project, warm: Warm, tmp_path: Path
) -> None:
    copied = undisturbed.copy_to(tmp_path / "project")
    project = Project(copied.folder.rename(tmp_path / "moved project"))
    assert_nothing_runs(warm, project)
    elsewhere = tmp_path / "other runs"
    project.run_folder.parent.rename(elsewhere)
    ended = warm.run(project, *RUN, "--json", "--runs", str(elsewhere))
    assert ended.code == 0, ended.told
    assert all(ended.reused().values()), ended.reused()
    assert not project.run_folder.exists()
