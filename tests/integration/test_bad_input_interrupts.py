"""Ctrl-C and SIGTERM at any moment, and two runs in one folder: nothing finished is lost, nothing
unfinished looks finished, and the same command then succeeds."""

from __future__ import annotations

import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from commands import kill_plan
from project import Done, Project, warm_python


def wait_for_draft(process: subprocess.Popen[str], folder: Path, stage: str) -> None:
    """Return as soon as `process` has begun to write the artifact of `stage`."""
    until = time.monotonic() + 300
    before = set(folder.glob(f".{stage}-draft-*"))
    while not set(folder.glob(f".{stage}-draft-*")) - before:
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < until
        time.sleep(0.002)


def signalled(
    project: Project,
    command: tuple[str, ...],
    stage: str,
    number: signal.Signals,
    delay: float = 0.0,
) -> Done:
    """How `command` ends that is sent a signal `delay` seconds after `stage` begins to write."""
    plan = kill_plan(project, stage, number, delay=delay)
    ended: Done = warm_python().run(project, *command, kill=plan)
    return ended


def interrupt(
    project: Project,
    command: tuple[str, ...],
    stage: str,
    number: signal.Signals,
    delay: float,
) -> None:
    """Send `command` the signal `delay` seconds into `stage`, and look at its end."""
    before = project.content() if project.run_folder.exists() else {}
    ended = signalled(project, command, stage, number, delay)
    check_end(project, ended, stage, before)


def check_end(project: Project, ended: Done, stage: str, before: dict[str, str]) -> None:
    """An interrupted command says so once and leaves what was finished, and nothing else."""
    assert ended.code == 130, ended.told
    assert ended.out == ""
    assert "Traceback" not in ended.err and "Exception ignored" not in ended.err, ended.err
    assert ended.err.count("Interrupted; finished stages and training checkpoints are kept.") == 1
    assert project.drafts() == []
    assert not (project.run_folder / stage).exists()
    assert before.items() <= project.content().items()


@pytest.mark.parametrize(
    ("number", "delay"), [(signal.SIGINT, 0.0), (signal.SIGTERM, 0.0), (signal.SIGINT, 0.02)]
)
def test_while_preparing(fresh_project: Project, number: signal.Signals, delay: float) -> None:
    # Large images, so that there is time to interrupt.
    fresh_project.replace("image_size: 32", "image_size: 512")
    interrupt(fresh_project, ("distill",), "prepare", number, delay)


@pytest.mark.parametrize(
    ("number", "delay"),
    [(signal.SIGTERM, 0.0), (signal.SIGINT, 1.0)],
    ids=["at-once", "while-training"],
)
def test_while_teaching(
    partial_project: Callable[..., Project], number: signal.Signals, delay: float
) -> None:
    project = partial_project("prepare")
    longer = ("--set", "teacher.visual.epochs=500")
    interrupt(project, ("distill", *longer), "train_teacher", number, delay)


@pytest.mark.parametrize(
    ("command", "stage", "number", "kept"),
    [
        (("distill",), "distill", signal.SIGTERM, ("prepare", "train_teacher", "score_views")),
        pytest.param(
            ("quantize",),
            "quantize",
            signal.SIGINT,
            ("prepare", "train_teacher", "score_views", "distill"),
            marks=pytest.mark.slow,
        ),
        pytest.param(
            ("export", "--target", "cpu"),
            "export/student-fp32",
            signal.SIGTERM,
            (
                "prepare",
                "train_teacher",
                "score_views",
                "distill",
                "quantize",
                "export/student-int8-unsigned-fp32",
            ),
            marks=pytest.mark.slow,
        ),
        (
            ("validate", "--target", "cpu"),
            "measure/cpu",
            signal.SIGINT,
            ("prepare", "train_teacher", "score_views", "distill", "quantize", "export", "build"),
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else None,
)
def test_then_the_same_command_succeeds(
    partial_project: Callable[..., Project],
    command: tuple[str, ...],
    stage: str,
    number: signal.Signals,
    kept: tuple[str, ...],
) -> None:
    project = partial_project(*kept)
    interrupt(project, command, stage, number, delay=0.3)
    done = project.run(*command, "--json")
    assert done.code == 0, done.told
    assert (project.run_folder / stage / "manifest.json").is_file()
    reused = [name for name, fresh in done.reused().items() if fresh]
    assert set(reused) >= {
        each for each in kept if each in ("prepare", "train_teacher", "score_views", "distill")
    }


def test_an_earlier_artifact_survives_the_interrupted_attempt_to_replace_it(
    project: Project,
) -> None:
    before = project.content()
    command = ("validate", "--force", "--target", "cpu")
    ended = signalled(project, command, "measure/cpu", signal.SIGTERM, delay=0.1)
    assert ended.code == 130, ended.told
    assert project.content() == before
    assert project.drafts() == []


def test_two_runs_in_one_folder_at_once(partial_project: Callable[..., Project]) -> None:
    """The second is refused; the first, a new process that still imports torch, is interrupted."""
    project = partial_project("prepare")
    before = project.content()
    first = project.start("distill", "--set", "teacher.visual.epochs=500")
    try:
        wait_for_draft(first, project.run_folder, "train_teacher")
        second = project.run("run")
        assert second.code == 4, second.told
        assert f"in use by process {first.pid}" in second.err
        assert "runs/small" in second.err and "Wait for it to finish" in second.err
        assert "Traceback" not in second.err
        assert len(project.drafts()) == 1, "the second run swept the first one's draft away"
        elsewhere = project.run("run", "--runs", "others", "--set", "distill.epoch=1")
        assert elsewhere.code == 2
    finally:
        first.send_signal(signal.SIGINT)
        out, err = first.communicate(timeout=300)
    check_end(project, Done(first.returncode, out, err), "train_teacher", before)
