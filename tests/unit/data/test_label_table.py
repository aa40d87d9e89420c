"""Labels, splits and groups from CSV and JSON files."""

import json
import os
from pathlib import Path

import pytest
from data_makers import encoded

from tmkd_deploy.data import table_rows
from tmkd_deploy.data.sources import read_source, source_fingerprint
from tmkd_deploy.errors import DataError, ExitCode
from tmkd_deploy.recipe.schema import Data


@pytest.fixture
def images(tmp_path):
    for number in range(6):
        (tmp_path / "images").mkdir(exist_ok=True)
        (tmp_path / "images" / f"{number}.png").write_bytes(encoded(number))
    return tmp_path


def write(folder: Path, content: str | bytes, name: str = "labels.csv") -> Path:
    file = folder / name
    file.write_bytes(content.encode() if isinstance(content, str) else content)
    return file


def read(file: Path, **more):
    return read_source(Data(source="table", path=file, **more))


def refused(file: Path, match: str, line: int | None, **more) -> DataError:
    with pytest.raises(DataError, match=match) as caught:
        read(file, **more)
    assert caught.value.exit_code == ExitCode.DATA
    assert caught.value.where == (f"{file}:{line}" if line else str(file))
    assert caught.value.advice
    return caught.value


def test_a_csv_file_names_images_and_classes(images):
    file = write(images, "\ufeffimage,label\r\nimages/0.png,cat\r\n\r\nimages/1.png,ant\r\n")
    data = read(file)
    assert data.class_names == ["ant", "cat"]
    assert data.keys == ["images/0.png", "images/1.png"]
    assert data.labels == [1, 0]
    assert data.read(1) == encoded(1)
    assert (data.splits, data.groups) == ([], [])


def test_splits_and_groups_are_used_where_the_table_has_them(images):
    rows = [(0, "a", "Train", "t1"), (1, "b", "training", "t2"), (2, "a", "valid", "t1")]
    rows += [(3, "b", "dev", "t3"), (4, "a", "TEST", "t4"), (5, "b", "test", "t5")]
    lines = [f"images/{n}.png,{label},{split},{group}" for n, label, split, group in rows]
    data = read(write(images, "\n".join(["image,label,split,group", *lines])))
    assert data.splits == ["train", "train", "val", "val", "test", "test"]
    assert data.groups == ["t1", "t2", "t1", "t3", "t4", "t5"]


def test_columns_may_have_other_names(images):
    text = "class,file,track,subset\na,images/0.png,7,train\nb,images/1.png,8,test\n"
    columns = {"image": "file", "label": "class", "split": "subset", "group": "track"}
    data = read(write(images, text), columns=columns)
    assert (data.splits, data.groups) == (["train", "test"], ["7", "8"])
    data = read(write(images, text), columns={"image": "file", "label": "class"})
    assert (data.splits, data.groups) == ([], [])
    data = read(
        write(images, text),
        columns={"image": "file", "label": "class"},
        group_by="column:track",
    )
    assert data.groups == ["7", "8"]
    by_name = read(write(images, text), columns=columns, group_by="{group}.png")
    assert by_name.groups == ["0", "1"]


@pytest.mark.parametrize("name", ["labels.json", "labels.jsonl"])
def test_json_holds_the_same_rows(images, name):
    rows = [{"image": f"images/{n}.png", "label": n % 2, "split": "train"} for n in range(4)]
    rows += [{"image": f"images/{n}.png", "label": n % 2, "split": "test"} for n in (4, 5)]
    lines = "\n".join(map(json.dumps, rows)) + "\n\n"
    data = read(write(images, json.dumps(rows) if name == "labels.json" else lines, name))
    assert data.labels == [0, 1, 0, 1, 0, 1]
    assert data.class_names == ["0", "1"]
    assert data.splits[-1] == "test"


@pytest.mark.parametrize(
    ("written", "class_names", "names", "labels"),
    [
        (("10", "9", "2"), None, ["2", "9", "10"], [2, 1, 0]),
        (("0", "2", "1"), ["x", "y", "z"], ["x", "y", "z"], [0, 2, 1]),
        (("z", "x", "y"), ["x", "y", "z"], ["x", "y", "z"], [2, 0, 1]),
        (("2", "1", "2"), ["2", "1"], ["2", "1"], [0, 1, 0]),
        (("0", "1", "2"), {"1": "worn"}, ["0", "worn", "2"], [0, 1, 2]),
    ],
)
def test_labels_are_names_or_numbers_of_names(images, written, class_names, names, labels):
    lines = [f"images/{number}.png,{label}" for number, label in enumerate(written)]
    data = read(write(images, "\n".join(["image,label", *lines])), class_names=class_names)
    assert (data.class_names, data.labels) == (names, labels)


ROW = "images/0.png,a\n"


@pytest.mark.parametrize(
    ("rows", "told", "line"),
    [
        (ROW + "../images/1.png,b\n", "'../images/1.png' is not below the folder", 3),
        (ROW + "/etc/passwd,b\n", "'/etc/passwd' is not below the folder", 3),
        (ROW + "images/9.png,b\n", "'images/9.png' does not exist", 3),
        (ROW + "images,b\n", "'images' is not a regular file", 3),
        (ROW + "images/0.png/x.png,b\n", "does not exist", 3),
        (ROW + "x" * 300 + ",b\n", "cannot be read: File name too long", 3),
        (ROW + ROW, "'images/0.png' is also in line 2", 3),
        (ROW + "images/1.png,\n", "column 'label' holds nothing", 3),
        (ROW + "images/1.png\n", "1 values for 2 columns", 3),
        (ROW + "images/1.png,b,c\n", "3 values for 2 columns", 3),
        (ROW + 'images/1.png,"b\n', "unexpected end of data", 3),
        (ROW + '"images/\n1.png",b\nimages/8.png,a\n', "does not exist", 3),
    ],
)
def test_problems_of_a_row_name_file_and_line(images, rows, told, line):
    refused(write(images, "image,label\n" + rows), told, line)


def test_pipes_are_refused_and_not_waited_for(images):
    os.mkfifo(images / "pipe.png")
    refused(write(images, "image,label\npipe.png,a\n"), "not a regular file", 2)
    os.mkfifo(images / "pipe.csv")
    refused(images / "pipe.csv", "it is a pipe or a device", None)


def test_a_split_that_is_none_is_named(images):
    text = "image,label,split\nimages/0.png,a,train\nimages/1.png,b,holdout\n"
    error = refused(write(images, text), "no split 'holdout'", 3)
    assert "validation" in error.advice
    text = "image,label,split\nimages/0.png,a,test\nimages/1.png,b,test\n"
    refused(write(images, text), "no splits but test", None)


def test_a_lone_validation_split_is_the_test_split(images):
    text = "image,label,split\nimages/0.png,a,train\nimages/1.png,b,train\n"
    text += "images/2.png,a,val\nimages/3.png,b,val\n"
    data = read(write(images, text))
    assert data.splits == ["train", "train", "test", "test"]
    assert "no test split" in data.notes[0]


@pytest.mark.parametrize("columns", [{"label": "class"}, {"split": "subset"}, {"group": "track"}])
def test_a_missing_column_is_named_with_those_there_are(images, columns):
    [name] = columns.values()
    told = f"no column '{name}'; the columns are: 'image', 'label'"
    error = refused(write(images, "image,label\n" + ROW), told, 2, columns=columns)
    assert "data.columns" in error.advice


def test_labels_outside_class_names_name_their_line(images):
    text = "image,label\nimages/0.png,a\nimages/1.png,c\n"
    refused(write(images, text), "label 'c' is not one of", 3, class_names=["a", "b"])
    text = "image,label\nimages/0.png,0\nimages/1.png,5\n"
    with pytest.raises(DataError, match="label 5, but there are 2 classes"):
        read(write(images, text), class_names=["a", "b"])


@pytest.mark.parametrize(
    ("name", "content", "told", "line"),
    [
        ("a.json", "[{]", "cannot be read: Expecting property name", 1),
        ("a.json", '{"image": 1}', "it is not a list", None),
        ("a.json", "[1]", "a row must be an object", 1),
        ("a.json", "[" * 100_000, "recursion", None),
        ("a.json", '[{"image": "x", "label": ' + "9" * 5000 + "}]", "digits", None),
        ("a.json", '[{"image": "images/0.png", "label": true}]', "holds True", 1),
        ("a.json", '[{"image": "images/0.png", "label": 0.5}]', "holds 0.5", 1),
        ("a.json", '[{"image": "images/0.png", "label": "\\ud800"}]', "holds '.ud800'", 1),
        ("a.json", '[{"image": ["x"], "label": 1}]', "column 'image' holds", 1),
        ("a.jsonl", '{"image": "images/0.png", "label": 1}\n{', "Expecting property name", 2),
        ("a.csv", "image,label,image\n", "two columns have the same name", 1),
        ("a.csv", b"image,label\nimages/\xff.png,a\n", "not UTF-8", 2),
        ("a.csv", "image,label\n" + "x" * 200_000 + ",a\n", "field larger than field limit", 2),
        ("a.txt", "image,label\n", "not a table of labels", None),
    ],
)
def test_damaged_tables_are_refused(images, name, content, told, line):
    refused(write(images, content, name), told, line)


def test_an_empty_or_missing_table_is_named(images):
    refused(write(images, "image,label\n"), "data set is empty", None)
    refused(images / "none.csv", "No such file", None)
    refused(write(images, "image,label\nimages/0.png,a\n"), "single class, 'a'", None)


def test_a_table_that_is_too_large_is_not_read(images, monkeypatch):
    monkeypatch.setattr(table_rows, "BYTES_AT_MOST", 1 << 20)
    refused(write(images, b"x" * ((1 << 20) + 1)), "larger than 1 MiB", None)


def test_the_fingerprint_covers_the_table_and_its_images(images):
    file = write(images, "image,label\nimages/0.png,a\nimages/1.png,b\n")
    spec = Data(source="table", path=file)
    found = {source_fingerprint(spec)}
    os.utime(images / "images" / "1.png", ns=(0, 1))
    found.add(source_fingerprint(spec))
    os.utime(images / "images" / "5.png", ns=(0, 1))
    found.add(source_fingerprint(spec))
    os.utime(file, ns=(0, 2))
    found.add(source_fingerprint(spec))
    assert len(found) == 3


def test_tables_may_be_split_by_the_recipe(images):
    train = write(images, "image,label\nimages/0.png,a\nimages/1.png,b\n", "train.csv")
    test = write(images, "image,label\nimages/2.png,a\nimages/3.png,b\n", "test.csv")
    data = read_source(Data(source="table", train=train, test=test))
    assert data.keys == [f"{n}" for n in ("train/images/0.png", "train/images/1.png")] + [
        "test/images/2.png",
        "test/images/3.png",
    ]
    write(images, "image,label,split\nimages/2.png,a,test\nimages/3.png,b,test\n", "test.csv")
    with pytest.raises(DataError, match="already names its split"):
        read_source(Data(source="table", train=train, test=test))
