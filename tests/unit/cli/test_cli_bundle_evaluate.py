"""`bundle evaluate` and `bundle show` on a real bundle that tells colours apart."""

from __future__ import annotations

import csv
import io
import json
import tarfile
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

from colour_bundle import COLOURS, packed, solid, with_engine

from tmkd_deploy.bundle.evaluate import Evaluation, Row, to_csv
from tmkd_deploy.cli.main import main
from tmkd_deploy.cli.render_bundle import evaluation
from tmkd_deploy.proportions import share_interval
from tmkd_deploy.runtime import load
from tmkd_deploy.runtime.decision import Decision


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    return packed(tmp_path / "packed")[0]


@pytest.fixture
def labelled(tmp_path: Path) -> Path:
    """Four red images, three green ones of which one looks blue, and no blue one."""
    root = tmp_path / "labelled"
    for label, looks in (("red", ["red"] * 4), ("green", ["green", "green", "blue"])):
        (root / label).mkdir(parents=True)
        for number, colour in enumerate(looks):
            Image.fromarray(solid(colour, side=20)).save(root / label / f"{number}.png")
    return root


def evaluated(capsys: Any, *arguments: object) -> dict[str, Any]:
    assert main(["bundle", "evaluate", *map(str, arguments), "--json"]) == 0
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


def test_every_figure_with_its_interval(bundle, labelled, capsys) -> None:
    found = evaluated(capsys, bundle, labelled)
    assert found["images"] == 7
    assert found["top1"] == pytest.approx(6 / 7)
    assert found["top1_interval"] == list(share_interval(6, 7))
    assert found["confusion"] == [[4, 0, 0], [0, 2, 1], [0, 0, 0]]
    red, green, blue = found["classes"]
    assert [each["name"] for each in found["classes"]] == COLOURS
    assert (red["images"], red["recall"], red["precision"]) == (4, 1, 1)
    assert (green["recall"], green["recall_interval"]) == (
        pytest.approx(2 / 3),
        list(share_interval(2, 3)),
    )
    assert (blue["images"], blue["recall"], blue["recall_interval"]) == (0, None, None)
    assert (blue["predicted"], blue["precision"]) == (1, 0)
    assert blue["precision_interval"] == list(share_interval(0, 1))
    assert found["threshold"] is found["guarded_class"] is None
    assert found["unusable"] == found["notes"] == []


def test_people_read_tables(bundle, labelled, capsys) -> None:
    assert main(["bundle", "evaluate", str(bundle), str(labelled)]) == 0
    told = capsys.readouterr().out
    assert "Top-1: 85.7 % (48.7 to 97.4)" in told
    assert "66.7 % (20.8 to 93.9)" in told
    assert max(map(len, told.splitlines())) <= 80
    rows = [line.split() for line in told.splitlines()]
    assert ["green", "0", "2", "1"] in rows


def test_a_bad_image_is_named_and_no_obstacle(bundle, labelled, tmp_path, capsys) -> None:
    (labelled / "red" / "bad.png").write_text("not an image")
    (labelled / "red" / "none.png").symlink_to(tmp_path / "absent")
    (labelled / "red" / "notes.txt").write_text("no image at all")
    found = evaluated(capsys, bundle, labelled, "--csv", tmp_path / "out" / "rows.csv")
    assert found["images"] == 7
    assert [each["path"] for each in found["unusable"]] == ["red/bad.png", "red/none.png"]
    assert all(each["problem"] for each in found["unusable"])
    assert "notes.txt" in found["notes"][0]
    with (tmp_path / "out" / "rows.csv").open(encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert len(rows) == 9
    bad = next(row for row in rows if row["path"] == "red/bad.png")
    assert bad == {"path": "red/bad.png", "label": "red", "prediction": "", "confidence": ""}
    good = next(row for row in rows if row["path"] == "green/2.png")
    assert (good["label"], good["prediction"]) == ("green", "blue")
    assert 0 < float(good["confidence"]) <= 1

    assert main(["bundle", "evaluate", str(bundle), str(labelled)]) == 0
    told = capsys.readouterr().out
    assert "2 images cannot be used:" in told and "red/bad.png: " in told


def test_where_nothing_can_be_used_it_is_5(bundle, tmp_path, capsys) -> None:
    (tmp_path / "all" / "red").mkdir(parents=True)
    (tmp_path / "all" / "red" / "bad.png").write_text("not an image")
    assert main(["bundle", "evaluate", str(bundle), str(tmp_path / "all")]) == 5
    told = capsys.readouterr().err
    assert "None of the 1 images can be used" in told and "red/bad.png" in told
    for other in ("absent", "packed"):
        assert main(["bundle", "evaluate", str(bundle), str(tmp_path / other)]) == 5
        assert "Traceback" not in capsys.readouterr().err


@pytest.mark.parametrize(
    ("folder", "told"),
    [
        ("gren", 'Did you mean "green"? Images count by the name of their class.'),
        ("test", "This is the name of a split: give the test folder itself."),
        # labels are numbers in tables, but these are folders
        ("0", "The bundle has no class '0'."),
    ],
)
def test_classes_count_by_name(bundle, labelled, capsys, folder: str, told: str) -> None:
    (labelled / "green").rename(labelled / folder)
    assert main(["bundle", "evaluate", str(bundle), str(labelled)]) == 5
    assert told in " ".join(capsys.readouterr().err.split())


@pytest.mark.parametrize("labels", [("red", "green"), ("0", "1")])
def test_a_table_names_or_counts_the_classes(
    bundle, labelled, capsys, labels: tuple[str, str]
) -> None:
    table = labelled / "labels.csv"
    lines = [f"red/{number}.png,{labels[0]}" for number in range(4)]
    lines += [f"green/{number}.png,{labels[1]}" for number in range(3)]
    table.write_text("\n".join(["image,label", *lines]))
    assert evaluated(capsys, bundle, table)["confusion"] == [[4, 0, 0], [0, 2, 1], [0, 0, 0]]
    splits = ["test", "train", "val", "test", "test", "test", "train"]
    split_lines = [f"{line},{split}" for line, split in zip(lines, splits, strict=True)]
    table.write_text("\n".join(["image,label,split", *split_lines]))
    found = evaluated(capsys, bundle, table)
    assert found["images"] == 4
    assert "3 images of other splits were not" in found["notes"][0]


def test_a_number_beyond_the_classes_is_refused(bundle, labelled, capsys) -> None:
    (labelled / "labels.csv").write_text("image,label\nred/0.png,0\nred/1.png,3\n")
    assert main(["bundle", "evaluate", str(bundle), str(labelled / "labels.csv")]) == 5
    assert "no class '3'" in capsys.readouterr().err


def test_parquet_and_tar_shards(bundle, labelled, tmp_path, capsys) -> None:
    pyarrow, parquet = (pytest.importorskip(name) for name in ("pyarrow", "pyarrow.parquet"))
    images = [
        labelled / "red" / "0.png",
        labelled / "green" / "0.png",
        labelled / "green" / "2.png",
    ]
    shard = tmp_path / "shards" / "images.parquet"
    shard.parent.mkdir()
    content = [{"bytes": image.read_bytes(), "path": image.name} for image in images]
    parquet.write_table(pyarrow.table({"image": content, "label": [0, 1, 1]}), shard)
    assert evaluated(capsys, bundle, shard.parent)["confusion"][1] == [0, 1, 1]
    with tarfile.open(tmp_path / "images.tar", "w") as archive:
        for number, (image, label) in enumerate(zip(images, (0, 2, 2), strict=True)):
            (tmp_path / "label").write_text(str(label))
            archive.add(image, f"{number}.png")
            archive.add(tmp_path / "label", f"{number}.cls")
    found = evaluated(capsys, bundle, tmp_path / "images.tar")
    assert found["confusion"] == [[1, 0, 0], [0, 0, 0], [0, 1, 1]]


def test_the_threshold_is_applied(tmp_path, labelled, capsys) -> None:
    strict = packed(tmp_path / "strict", decision=Decision(0, 5e-6))[0]
    faint = solid("green", side=20)
    faint[:, :, 0] = 30  # 11.9 logits below green
    Image.fromarray(faint).save(labelled / "green" / "0.png")
    found = evaluated(capsys, strict, labelled)
    assert (found["guarded_class"], found["threshold"]) == ("red", 5e-6)
    assert found["confusion"][1] == [1, 1, 1]
    assert main(["bundle", "evaluate", str(strict), str(labelled)]) == 0
    assert 'counts as "red" from a probability of 5e-06' in capsys.readouterr().out


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t", "\r", "＝"])
def test_no_cell_is_a_formula(start: str) -> None:
    name = f"{start}HYPERLINK(0)"
    rows = [Row(f"{name}.png", name, name, 0.5), Row("plain,\n.png", "a", None, None, "why")]
    text = to_csv(Evaluation([name, "a"], rows))
    _, first, second = csv.reader(io.StringIO(text))
    assert first == [f"'{name}.png", f"'{name}", f"'{name}", "0.500000"]
    assert second == ["plain,\n.png", "a", "", ""]


def test_names_are_no_commands_to_the_terminal(bundle, labelled, capsys) -> None:
    (labelled / "red" / "\x1b[2J.png").write_text("not an image")
    assert main(["bundle", "evaluate", str(bundle), str(labelled)]) == 0
    assert "\x1b" not in capsys.readouterr().out


def test_many_classes_show_mistakes_instead_of_a_matrix(tmp_path) -> None:
    names = [f"class {number}" for number in range(20)]
    rows = [Row(f"{name}.png", name, names[0], 0.5) for name in names for _ in range(2)]
    told = evaluation(Evaluation(names, rows), load(packed(tmp_path / "any")[0]))
    assert "True class, taken for" not in told
    lines = [" ".join(line.split()) for line in told.splitlines()]
    assert sum(line.endswith("class 0 2") for line in lines) == 10


# show


def test_a_bundle_is_described_in_a_few_lines(tmp_path, capsys) -> None:
    path = packed(tmp_path / "guarded", decision=Decision(1, 0.01))[0]
    assert main(["bundle", "show", str(path)]) == 0
    told = capsys.readouterr().out
    for text in (
        *("colours", "✓ passed", "3: red, green, blue", "FP32 with ONNX Runtime for cpu"),
        *('counts as "green" from a probability of 0.01', "8 × 8 pixels"),
        "90.0 % (85.0 to 95.0) top-1",
        "0.500 ms (0.490 to 0.510) median, p99 0.700 ms, 1 thread",
        "the budget requires at least 0.8",
    ):
        assert text in told
    assert max(map(len, told.splitlines())) <= 80
    assert len(told.splitlines()) < 25


def test_what_was_not_measured_is_said(tmp_path, capsys) -> None:
    path = packed(tmp_path / "plain")[0]
    with_engine(path, lambda engine: engine.update(accuracy=None, latency={"p50_ms": "?"}))
    assert main(["bundle", "show", str(path)]) == 0
    told = capsys.readouterr().out
    assert told.count("not measured") == 2
    assert "The class with the highest score is the answer." in told
