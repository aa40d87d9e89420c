"""Folders that hold their splits, files that are not used, and new names of classes."""

import shutil
from pathlib import Path

import pytest
from data_makers import encoded, make_folder
from PIL import Image

from tmkd_deploy.data.prepared import UnusedFiles
from tmkd_deploy.data.sources import VAL_IS_TEST, read_source, source_fingerprint
from tmkd_deploy.data.unused import described
from tmkd_deploy.errors import DataError
from tmkd_deploy.recipe.schema import Data


def read(path: Path, **more):
    return read_source(Data(source="folder", path=path, **more))


def refused(path: Path, match: str, **more) -> DataError:
    with pytest.raises(DataError, match=match) as caught:
        read(path, **more)
    assert caught.value.where == str(path)
    return caught.value


def put(root: Path, *files: str) -> Path:
    """Images at these paths below `root`, none like another."""
    for number, file in enumerate(files):
        (root / file).parent.mkdir(parents=True, exist_ok=True)
        (root / file).write_bytes(encoded(number))
    return root


@pytest.mark.parametrize(
    ("train", "val", "test"),
    [("train", "val", "test"), ("Training", "VALID", "testing"), ("train", "dev", "TEST")],
)
def test_folders_named_after_splits_are_the_splits(tmp_path, train, val, test):
    put(tmp_path, f"{train}/a/0.png", f"{train}/b/1.png")
    put(tmp_path, f"{val}/a/0.png", f"{val}/b/deep/1.png", f"{test}/a/0.png", f"{test}/b/1.png")
    data = read(tmp_path)
    assert data.class_names == ["a", "b"]
    assert data.splits == ["train"] * 2 + ["val"] * 2 + ["test"] * 2
    assert data.keys[3] == "val/b/deep/1.png"
    assert data.notes == [] and data.unused == []


@pytest.mark.parametrize("val", ["val", "validation"])
def test_a_lone_validation_split_judges_and_that_is_said(tmp_path, val):
    put(tmp_path, "train/a/0.png", "train/b/1.png", f"{val}/a/0.png", f"{val}/b/1.png")
    for data in (
        read(tmp_path),
        read_source(Data(source="folder", train=tmp_path / "train", val=tmp_path / val)),
    ):
        assert data.splits == ["train", "train", "test", "test"]
        assert data.notes == [VAL_IS_TEST]


def test_a_class_may_be_called_train(tmp_path):
    put(tmp_path, "bus/0.png", "car/1.png", "train/2.png", "train/old/3.png")
    assert read(tmp_path).class_names == ["bus", "car", "train"]


def test_class_names_make_classes_of_folders_named_after_splits(tmp_path):
    put(tmp_path, "car/x/0.png", "train/y/1.png", "test/z/2.png")
    refused(tmp_path, "'test' is named after a split, but lies beside the folder 'car'")
    assert read(tmp_path, class_names=["train", "car", "test"]).labels == [1, 2, 0]
    renamed = read(tmp_path, class_names={"train": "railway", "test": "trial"})
    assert renamed.class_names == ["car", "trial", "railway"]


@pytest.mark.parametrize(
    ("files", "told"),
    [
        (("train/a/0.png", "train/b/1.png", "car/2.png"), "'train' .* lies beside .* 'car'"),
        (("train/0.png", "val/1.png"), "'train' is named after a split, but holds images"),
        (("train/0.png", "val/1.png", "car/2.png"), "'train' is named after a split, but holds"),
        (("train/a/0.png", "train/b/1.png", "test/2.png"), "'test' is named .* but holds images"),
        (("train/a/0.png", "train/b/1.png"), "holds the split train, but no other split"),
        (("val/a/0.png", "test/a/1.png"), "holds the split test, val, but no training split"),
        (("train/a/0.png", "val/a/1.png", "valid/a/2.png"), "'val' and 'valid' are both named"),
    ],
)
def test_a_folder_that_could_be_read_in_two_ways_is_refused(tmp_path, files, told):
    error = refused(put(tmp_path, *files), told)
    for way_out in ("data.train", "data.path", "data.class_names"):
        assert way_out in error.advice


def test_the_fingerprint_covers_the_images_of_every_split(tmp_path):
    put(tmp_path, "train/a/0.png", "train/b/1.png", "test/a/0.png", "test/b/1.png")
    spec = Data(source="folder", path=tmp_path)
    first = source_fingerprint(spec)
    shutil.move(tmp_path / "test/a/0.png", tmp_path / "train/a/moved.png")
    assert source_fingerprint(spec) != first


def test_every_file_that_is_not_used_is_counted_with_its_reason(tmp_path):
    put(tmp_path, "a/0.png", "b/1.png", "loose.png")
    for name in ("a/x.avif", "a/y.AVIF", "b/notes.txt", "README", ".git/config", "a/.DS_Store"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("no image")
    data = read(tmp_path)
    assert len(data.keys) == 2
    assert {each.why: (each.count, each.example) for each in data.unused} == {
        "hidden": (2, ".git"),
        "without a suffix": (1, "README"),
        "with the suffix .avif": (2, "a/x.avif"),
        "with the suffix .txt": (1, "b/notes.txt"),
        "outside the class folders": (1, "loose.png"),
    }
    sentence = described(data.unused)
    assert "2 with the suffix .avif, such as 'a/x.avif'" in sentence
    assert "hidden" not in sentence


def test_files_beside_the_splits_and_in_linked_classes_are_seen(tmp_path):
    put(tmp_path / "elsewhere", "0.png")
    (tmp_path / "elsewhere" / "x.avif").write_text("no image")
    put(tmp_path / "images", "train/b/1.png", "test/a/0.png", "test/b/1.png", "more.jpg")
    (tmp_path / "images" / "train" / "a").symlink_to(tmp_path / "elsewhere")
    data = read(tmp_path / "images")
    assert data.keys[0] == "train/a/0.png"
    assert data.unused == [
        UnusedFiles(why="outside the class folders", count=1, example="more.jpg"),
        UnusedFiles(why="with the suffix .avif", count=1, example="train/a/x.avif"),
    ]


def test_links_in_circles_are_not_followed(tmp_path):
    put(tmp_path / "images", "a/0.png", "b/1.png")
    (tmp_path / "images" / "a" / "loop").symlink_to(tmp_path / "images")
    (tmp_path / "images" / "b" / "loop.txt").symlink_to("loop.txt")
    unused = read(tmp_path / "images").unused
    assert unused == [UnusedFiles(why="with the suffix .txt", count=1, example="b/loop.txt")]


def test_hidden_files_alone_are_not_worth_a_warning(tmp_path):
    put(tmp_path, "a/0.png", "b/1.png")
    (tmp_path / "a" / ".DS_Store").write_text("")
    assert described(read(tmp_path).unused) is None


@pytest.mark.parametrize("suffix", ["ppm", "pgm", "gif", "pnm"])
def test_netpbm_and_gif_are_read(tmp_path, suffix):
    put(tmp_path, "a/0.png", "b/1.png")
    image = Image.new("L" if suffix == "pgm" else "RGB", (8, 6), 77)
    image.save(tmp_path / "a" / f"x.{suffix}", {"gif": "gif"}.get(suffix, "ppm"))
    data = read(tmp_path)
    assert data.keys[1] == f"a/x.{suffix}" and data.unused == []


def test_classes_can_be_given_new_names(tmp_path):
    make_folder(tmp_path, {"00000": 1, "00001": 1, "stop": 1})
    data = read(tmp_path, class_names={"00000": "speed limit 20", "00001": "yield"})
    assert data.class_names == ["speed limit 20", "yield", "stop"]
    assert data.labels == [0, 1, 2]
    with pytest.raises(DataError, match="no class '0'; there are 3 classes") as caught:
        read(tmp_path, class_names={"0": "speed limit 20"})
    assert caught.value.where == "data.class_names"
    with pytest.raises(DataError, match="the same name, 'stop'"):
        read(tmp_path, class_names={"00000": "stop"})


def test_groups_are_read_in_every_split_and_required_where_some_are_drawn(tmp_path):
    put(tmp_path, "train/a/7_1.png", "train/b/8_1.png", "test/a/7_2.png", "test/b/plain.png")
    assert read(tmp_path, group_by="{group}_*.png").groups == ["7", "8", "7", ""]
    (tmp_path / "train" / "b" / "x.png").write_bytes(encoded(9))
    with pytest.raises(DataError, match=r"'b/x\.png' does not match"):
        read(tmp_path, group_by="{group}_*.png")
