"""A disk that fills up stage by stage, and one that cannot be written to."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from commands import RUN, Warm
from end_state import differences, end_state, half_finished, snapshot
from project import Project

FULL = ("No space is left on this disk", "Free some space", "--runs")
STEP = 120_000  # less than the late stages write together
LATE = ("build", "measure", "gate", "bundle", "report")


def mount(place: Path, options: str) -> None:
    command = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(place)]
    mounted = subprocess.run(command, capture_output=True, text=True, check=False)
    if mounted.returncode != 0:
        pytest.skip(f"no file system can be mounted here: {mounted.stderr.strip()}")


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of its own."""
    if os.geteuid() != 0 or shutil.which("mount") is None:
        pytest.skip("only root can mount a file system")
    place = tmp_path / "disk"
    place.mkdir()
    mount(place, "size=64m")
    yield place
    subprocess.run(["umount", str(place)], check=True)


def test_a_disk_that_fills_up_in_every_late_stage(
    undisturbed: Project, warm: Warm, disk: Path
) -> None:
    """Each time a little space is freed, until the same command finishes."""
    project = undisturbed.copy_to(disk / "project")
    for stage in LATE:
        shutil.rmtree(project.run_folder / stage)
    for page in project.run_folder.glob("*.*"):
        page.unlink()
    status = os.statvfs(disk)
    size = (status.f_blocks - status.f_bfree) * status.f_frsize
    failed_in = []
    for _ in range(40):
        size += STEP
        mount(disk, f"remount,size={size}")
        before = project.content()
        ended = warm.run(project, *RUN)
        if ended.code == 0:
            break
        assert ended.code == 4, ended.told
        assert "Traceback" not in ended.err and "Exception ignored" not in ended.err, ended.err
        assert all(words in ended.err for words in FULL), ended.told
        assert project.drafts() == [] and half_finished(project) == []
        lost = before.items() - project.content().items()
        assert {name for name, _ in lost} <= {"report.html", "report.md", "summary.json"}, lost
        failed_in.append(ended.err.count("Stage "))
    assert ended.code == 0, ended.told
    assert len(set(failed_in)) >= 2, "the disk never filled up in a second stage"
    assert differences(end_state(project), end_state(undisturbed)) == []


def test_a_project_that_cannot_be_written_to(
    undisturbed: Project, warm: Warm, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    """Root may write in any folder, so for root the file system itself refuses."""
    if os.geteuid() == 0:
        disk: Path = request.getfixturevalue("disk")
        project = undisturbed.copy_to(disk / "project")
        mount(disk, "remount,ro")
    else:
        project = undisturbed.copy_to(tmp_path / "project")
        for path in (project.folder, *project.folder.rglob("*")):
            path.chmod(path.stat().st_mode & ~0o222)
    before = snapshot([project.folder])
    ended = warm.run(project, *RUN)
    assert ended.code == 4, ended.told
    assert "Traceback" not in ended.err and "This is a bug" not in ended.err, ended.err
    assert "Where: runs/small" in ended.err and "read and write it" in ended.err
    assert snapshot([project.folder]) == before
    elsewhere = tmp_path / "elsewhere"
    shutil.copytree(project.run_folder, elsewhere / "small", copy_function=shutil.copy)
    for path in elsewhere.rglob("*"):
        path.chmod(path.stat().st_mode | 0o200)
    ended = warm.run(project, *RUN, "--json", "--runs", str(elsewhere))
    assert ended.code == 0, ended.told
    assert all(ended.reused().values()), ended.reused()
    assert snapshot([project.folder]) == before
    if os.geteuid() != 0:
        for path in (project.folder, *project.folder.rglob("*")):
            path.chmod(path.stat().st_mode | 0o200)
