"""Bad input, case by case: one clear message with place and remedy, the right exit code, no
traceback, and what earlier runs left stays as it was. This file has recipes and data; the files
beside it have weights and artifacts, interrupts and two runs at once, full disks and missing
packages."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from project import Done, Project
from refusals import Case, edit, refused, truncate


def nothing(project: Project) -> None:
    pass


RECIPE = [
    Case(
        "typo-in-a-section",
        edit("distill:", "distil:"),
        2,
        ('There is no key "distil"', "recipe.yaml:10", 'Did you mean "distill"?'),
    ),
    Case(
        "typo-in-a-key",
        edit("distill: {epochs", "distill: {epoch"),
        2,
        ('There is no key "epoch" in distill', "recipe.yaml:10", 'Did you mean "epochs"?'),
    ),
    Case(
        "typo-on-the-command-line",
        nothing,
        2,
        ('There is no key "epoch" in distill', "--set distill.epoch=3", '"epochs"'),
        ("run", "--set", "distill.epoch=3"),
    ),
    Case(
        "wrong-type",
        edit("distill: {epochs: 8", "distill: {epochs: eight"),
        2,
        ("Expected a whole number, got 'eight'", "recipe.yaml:10", "distill.epochs"),
    ),
    Case(
        "several-problems-at-once",
        edit("threads: 1", "threads: x\nsed: 2"),
        2,
        ("The recipe has 2 problems", 'Did you mean "seed"', "recipe check"),
    ),
    Case(
        "no-yaml",
        lambda project: project.recipe.write_text("name: [small\n"),
        2,
        ("recipe.yaml", "line"),
    ),
    Case(
        "not-text",
        lambda project: project.recipe.write_bytes(b"\xff\xfe\x00name"),
        2,
        ("not UTF-8", "recipe.yaml"),
    ),
    Case(
        "no-recipe",
        lambda project: project.recipe.unlink(),
        2,
        ("recipe.yaml", "tmkd-deploy recipe init"),
    ),
    Case(
        "unknown-target",
        edit("target: cpu", "target: cpuu"),
        2,
        ('no target "cpuu"', "recipe.yaml:15", 'Did you mean "cpu"?'),
    ),
    Case(
        "unknown-target-on-the-command-line",
        nothing,
        2,
        ("jetsn", 'Did you mean "jetson"'),
        ("export", "--target", "jetsn"),
    ),
    Case(
        "unknown-visual-teacher",
        edit("model: test_resnet", "model: test_resnett"),
        2,
        ("'test_resnett'", "teacher.visual.model", 'Did you mean "test_resnet'),
    ),
    Case(
        "unknown-student",
        edit("model: resnet10t", "model: resnet10x"),
        2,
        ("'resnet10x'", "student.model", 'Did you mean "resnet10t"'),
    ),
    Case(
        "unknown-text-teacher",
        edit("text: {epochs", "text: {model: ViT-B-33, epochs"),
        2,
        ("'ViT-B-33'", "teacher.text.model", '"ViT-B-32"'),
    ),
    Case(
        "unknown-weights",
        edit("weights: none", "weights: pretraind"),
        2,
        ('no weights called "pretraind"', "teacher.visual.weights", '"pretrained"'),
    ),
    Case(
        "a-keyword-that-no-model-takes",
        edit("stem_width: 8", "steam_width: 8"),
        2,
        ('"steam_width"', "student.model_kwargs.steam_width", '"stem_width"'),
    ),
    Case(
        "a-keyword-that-the-student-does-not-take",
        edit("stem_width: 8", "embed_dim: 8"),
        2,
        ("'resnet10t'", "embed_dim", "Correct 'student.model_kwargs'"),
    ),
]


def refused_and_left_alone(project: Project, case: Case) -> None:
    before = project.content()
    case.spoil(project)
    refused(project.run(*case.command), case.code, *case.told)
    assert project.content() == before
    assert project.drafts() == []


@pytest.mark.parametrize("case", RECIPE, ids=str)
def test_a_bad_recipe(project: Project, case: Case) -> None:
    refused_and_left_alone(project, case)


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("student:", "student:\n  weights: gone.pt", "gone.pt"),
        ("text: {", "text: {checkpoint: gone.pt, ", "gone.pt"),
        ("{epochs: 1, batch_size: 16}", "{embeddings: gone.safetensors}", "gone.safetensors"),
    ],
)
def test_missing_files_are_reported_before_training_starts(
    fresh_project: Project, complete: tuple[Project, Done], old: str, new: str, told: str
) -> None:
    fresh_project.replace(old, new)
    done = fresh_project.run("run")
    assert done.code in (2, 5) and told in done.err, done.told
    after_training = "visual teacher"
    assert after_training in complete[1].err and after_training not in done.err
    assert not (fresh_project.run_folder / "train_teacher").exists()


def in_train(change: Callable[[Path], object]) -> Callable[[Project], None]:
    """Give the project images of its own and change its folder `train`."""

    def spoil(project: Project) -> None:
        (images,) = (
            Path(line.partition("train: ")[2].partition(",")[0]).parent
            for line in project.recipe.read_text().splitlines()
            if line.startswith("data:")
        )
        shutil.copytree(images, project.folder / "images")
        project.replace(str(images), "images")
        project.replace(str(images), "images")
        change(project.folder / "images" / "train")

    return spoil


def emptied(folder: Path) -> None:
    shutil.rmtree(folder)
    folder.mkdir()


def garbage(source: str, name: str) -> Callable[[Project], None]:
    def spoil(project: Project) -> None:
        (project.folder / name).write_bytes(b"these are no images" * 100)
        lines = project.recipe.read_text().splitlines()
        lines[2] = f"data: {{source: {source}, path: {name}, image_size: 32}}"
        project.recipe.write_text("\n".join(lines) + "\n")

    return spoil


def name_not_utf8(train: Path) -> None:
    for split in (train, train.parent / "test"):
        (split / "plain").rename(split / os.fsdecode(b"caf\xe9"))


DATA = [
    Case(
        "missing",
        in_train(shutil.rmtree),
        5,
        ("This folder does not exist", "images/train", "path"),
    ),
    Case("empty", in_train(emptied), 5, ("contains no class folders", "images/train", "<class>")),
    Case(
        "empty-class",
        in_train(lambda train: emptied(train / "down")),
        5,
        ("'down' contains no images", "images/train/down", "remove the folder"),
    ),
    Case(
        "one-class",
        in_train(lambda t: [shutil.rmtree(t / each) for each in ("down", "across")]),
        5,
        ("single class, 'plain'", "images/train", "at least two classes"),
    ),
    Case(
        "other-classes-in-test",
        in_train(lambda train: shutil.rmtree(train / "down")),
        5,
        ("the test data have 3 classes", "images/test", "same classes"),
    ),
    Case("unreadable-parquet", garbage("parquet", "x.parquet"), 5, ("x.parquet",)),
    Case("unreadable-webdataset", garbage("webdataset", "x.tar"), 5, ("x.tar",)),
    Case(
        "duplicate-overlapping",
        in_train(lambda t: shutil.copy(t / "down/000.png", t.parent / "test/down/twin.png")),
        5,
        (
            "1 image of the training split repeats an image of a later split",
            "'train/down/000.png'",
            "twin.png",
        ),
    ),
    Case(
        "corrupt-image",
        in_train(lambda train: truncate(train / "down/007.png")),
        5,
        ("1 image of 162 cannot be decoded", "'train/down/007.png'", "max_corrupt_images"),
    ),
    Case(
        "class-name-not-utf8",
        in_train(name_not_utf8),
        5,
        ("UTF-8", "images/train", "Rename"),
    ),
]


@pytest.mark.parametrize("case", DATA, ids=str)
def test_bad_data(project: Project, case: Case) -> None:
    refused_and_left_alone(project, case)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_bad_data_without_permission(project: Project) -> None:
    in_train(lambda train: (train / "down/007.png").chmod(0))(project)
    refused(project.run("run"), 5, "007.png", "Check that the file exists and is readable.")


def test_a_corrupt_image_is_skipped_where_the_recipe_allows_it(fresh_project: Project) -> None:
    in_train(lambda train: truncate(train / "down/007.png"))(fresh_project)
    short = "teacher.visual.epochs=0", "distill.epochs=1", "distill.baseline=false"
    untrained = *short, "distill.weak_teacher=warn"
    options = [part for setting in untrained for part in ("--set", setting)]
    done = fresh_project.run("distill", *options, "--set", "data.max_corrupt_images=1")
    assert done.code == 0, done.told
    assert "Warning: Skipped image 'train/down/007.png': " in done.err
    assert fresh_project.manifest("prepare")["record"]["skipped"] == ["train/down/007.png"]
