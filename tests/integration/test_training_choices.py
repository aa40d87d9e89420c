"""The keys that choose weights, weight classes and augment images, through the command line."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from project import Project

pytest.importorskip("torch")

CHOICES = (
    *("teacher.visual.epochs=2", "teacher.visual.keep=best", "teacher.visual.ema_decay=0.9"),
    *("teacher.visual.class_weights=balanced", "teacher.text.epochs=1"),
    "teacher.visual.augmentations=[random_resized_crop, random_erasing]",
    *("distill.epochs=12", "distill.keep=best", "distill.patience=1"),
    *("distill.class_weights=balanced", "distill.teacher_outputs=live"),
    "distill.augmentations=[random_erasing, color_jitter, trivialaugment]",
    *("distill.mix=cutmix", "distill.mix_alpha=0.5", "distill.weak_teacher=warn"),
)


def test_every_choice_reaches_the_records(partial_project: Callable[..., Project]) -> None:
    project = partial_project("prepare")
    done = project.run("distill", *(part for each in CHOICES for part in ("--set", each)))
    assert done.code == 0, done.told
    teacher = project.manifest("train_teacher")["record"]
    assert teacher["weights"] == "none"
    assert teacher["curve"]["ema_decay"] == 0.9
    assert teacher["curve"]["kept"] == teacher["curve"]["best"]
    assert len(teacher["curve"]["epochs"]) == 2
    student = project.manifest("distill")["record"]
    assert set(student["curves"]) == {"distilled", "baseline"}
    for name, curve in student["curves"].items():
        kept = next(each for each in curve["epochs"] if each["epoch"] == curve["kept"])
        assert kept["top1"] == student["candidates"][name]["top1"], name
        assert kept["nll"] == pytest.approx(student["candidates"][name]["nll"], abs=1e-5), name


def test_augmentations_that_cannot_be_cached_are_refused(
    partial_project: Callable[..., Project],
) -> None:
    done = partial_project("prepare").run(
        "distill", "--set", "distill.augmentations=[trivialaugment]"
    )
    assert done.code == 2, done.told
    assert "trivialaugment" in done.err and "teacher_outputs: live" in done.err
