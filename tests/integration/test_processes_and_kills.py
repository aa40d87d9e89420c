"""Distributed, killed and resumed trainings produce the same student as an undisturbed one."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest
from commands import kill_plan
from killer import CHECKPOINT
from project import Done, Project, warm_python

pytest.importorskip("torch")

SCHEDULE = (
    *("--set", "distill.epochs=6", "--set", "training.checkpoint_steps=3"),
    *("--set", "distill.optimizer=sgd", "--set", "distill.learning_rate=0.05"),
    *("--set", "distill.batch_size=17"),
    *("--set", "distill.keep=best", "--set", "distill.ema_decay=0.9"),
)
STUDENTS = ("distilled", "baseline")


def weights_of(project: Project, stage: str, name: str) -> dict[str, Any]:
    from safetensors.torch import load_file

    return dict(load_file(project.run_folder / stage / f"{name}.safetensors"))


def killed(project: Project, checkpoint_change: int) -> Any:
    """How a command ends that is killed before a change of a training checkpoint."""
    plan = kill_plan(
        project, "distill", signal.SIGKILL, operation=CHECKPOINT, number=checkpoint_change
    )
    ended = warm_python().run(project, "distill", *SCHEDULE, kill=plan)
    assert ended.code == -signal.SIGKILL, ended.told
    return ended


def by_two(project: Project, *arguments: str) -> Done:
    """Run the command in two processes, started by torchrun."""
    launcher = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2")
    process = subprocess.Popen(
        [sys.executable, *launcher, "-m", "tmkd_deploy", *arguments],
        cwd=project.folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    out, err = process.communicate(timeout=500)
    return Done(process.returncode, out, err)


@pytest.fixture(scope="module")
def undisturbed(
    complete: tuple[Project, Done], tmp_path_factory: pytest.TempPathFactory
) -> Project:
    """The student of a single process, trained without interruption."""
    finished, done = complete
    assert done.code == 0, done.told
    project = finished.copy_to(tmp_path_factory.mktemp("undisturbed") / "project")
    done = project.run("distill", *SCHEDULE)
    assert done.code == 0, done.told
    return project


def test_a_student_killed_in_mid_epoch_and_resumed(
    undisturbed: Project, partial_project: Callable[..., Project]
) -> None:
    import torch

    project = partial_project("prepare", "train_teacher", "score_views")
    checkpoints = project.run_folder / "checkpoints"
    ended = killed(project, checkpoint_change=5)
    assert "distilling-the-student" in ended.event, ended.event
    assert not (project.run_folder / "distill").exists()
    # kill it a second time, in the training that follows the first one
    ended = killed(project, checkpoint_change=40)
    assert "training-the-baseline-student" in ended.event, ended.event
    assert "Distilling the student: resuming from step" in ended.err
    done = project.run("distill", *SCHEDULE)
    assert done.code == 0, done.told
    assert "Training the baseline student: resuming from step" in done.err
    for name in STUDENTS:
        expected = weights_of(undisturbed, "distill", name)
        found = weights_of(project, "distill", name)
        assert all(torch.equal(found[key], expected[key]) for key in expected), name
    assert list(checkpoints.iterdir()) == []
    assert project.drafts() == []


def test_two_processes_make_the_student_of_one(partial_project: Callable[..., Project]) -> None:
    """Equal to 1e-4 after an epoch of 7 steps, since sums are computed in another order.

    Training amplifies rounding differences with the learning rate, which is therefore low;
    tests/unit/training compares in float64, to 1e-7.
    """
    import torch

    one = partial_project("prepare", "train_teacher", "score_views")
    two = one.copy_to(one.folder.parent / "two")
    short = (*SCHEDULE, "--set", "distill.epochs=1", "--set", "distill.learning_rate=0.002")
    single, done = one.run("distill", *short), by_two(two, "distill", *short)
    assert single.code == 0, single.told
    assert done.code == 0, done.told
    assert done.out.count("Next: tmkd-deploy quantize") == 1, "printed more than once"
    for name in STUDENTS:
        found, expected = (weights_of(each, "distill", name) for each in (two, one))
        for key, value in expected.items():
            assert torch.allclose(found[key], value, rtol=1e-4, atol=1e-4), (name, key)
    record = [each.manifest("distill")["record"] for each in (one, two)]
    for name in STUDENTS:
        top1 = [each["candidates"][name]["top1"] for each in record]
        assert top1[0] == top1[1], name


def test_a_failure_in_two_processes_is_reported_once(
    partial_project: Callable[..., Project],
) -> None:
    project = partial_project("prepare", "train_teacher", "score_views")
    done = by_two(project, "distill", *SCHEDULE, "--set", "distill.learning_rate=1e30")
    assert done.code != 0
    told = [line for line in done.err.splitlines() if line.startswith("Error: ")]
    assert len(told) == 1, done.told
    assert "in epoch 1 of 'Distilling the student'" in done.err
    assert not (project.run_folder / "distill").exists()
    assert project.drafts() == []
