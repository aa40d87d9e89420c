"""`bundle verify`, `show` and `run` on a real bundle, and `compare` on real summaries."""

import dataclasses
import json
from pathlib import Path

import pytest
from PIL import Image

pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

from colour_bundle import COLOURS, packed, solid
from report_fixture import run_report

from tmkd_deploy.cli.main import main
from tmkd_deploy.report.json import Json
from tmkd_deploy.runtime import verify


@pytest.fixture
def bundle(tmp_path) -> Path:
    return packed(tmp_path)[0]


@pytest.fixture
def image(tmp_path) -> Path:
    path = tmp_path / "green.png"
    Image.fromarray(solid("green", side=20)).save(path)
    return path


def test_a_sound_bundle_is_told_so(bundle, capsys) -> None:
    assert main(["bundle", "verify", str(bundle)]) == 0
    assert "is valid" in capsys.readouterr().out
    assert main(["bundle", "verify", str(bundle), "--json"]) == 0
    content = json.loads(capsys.readouterr().out)
    assert content["executed"] and content["manifest"]["class_names"] == COLOURS


def test_a_truncated_bundle_is_refused(bundle, capsys) -> None:
    bundle.write_bytes(bundle.read_bytes()[:-100])
    assert main(["bundle", "verify", str(bundle)]) == 5
    told = capsys.readouterr().err
    assert str(bundle) in told and "Traceback" not in told


def test_a_bundle_shows_its_manifest(bundle, capsys) -> None:
    assert main(["bundle", "show", str(bundle), "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert shown == json.loads(json.dumps(dataclasses.asdict(verify(bundle).manifest)))
    assert shown["engines"][0]["target"] == "cpu"


def test_a_bundle_classifies_images(bundle, image, capsys) -> None:
    assert main(["bundle", "run", str(bundle), str(image), str(image)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2
    assert lines[0].startswith(f"{image}: green (")
    assert main(["bundle", "run", str(bundle), str(image), "--threads", "1", "--json"]) == 0
    [prediction] = map(json.loads, capsys.readouterr().out.splitlines())
    assert prediction["image"] == str(image)
    assert prediction["label"] == "green" and prediction["index"] == 1
    assert sum(prediction["probabilities"].values()) == pytest.approx(1)


def test_what_is_no_image_is_refused_by_name(bundle, tmp_path, capsys) -> None:
    text = tmp_path / "notes.png"
    text.write_text("not an image")
    assert main(["bundle", "run", str(bundle), str(text)]) == 5
    assert "notes.png" in capsys.readouterr().err


def test_one_bad_image_is_no_obstacle_to_the_others(bundle, tmp_path, capsys) -> None:
    folder = tmp_path / "images"
    (folder / "more").mkdir(parents=True)
    for name in ("b.png", "more/c.JPG", ".hidden.png", "a.txt"):
        Image.fromarray(solid("blue")).save(folder / name, "PNG")
    (folder / "bad.png").write_text("not an image")
    (folder / "\x1b[2Jodd.png").write_text("nor this")
    red = tmp_path / "red.png"
    Image.fromarray(solid("red")).save(red)

    given = ["bundle", "run", str(bundle), str(folder), str(tmp_path / "absent.png"), str(red)]
    assert main(given) == 5
    printed = capsys.readouterr()
    told = [line.rpartition(" (")[0] for line in printed.out.splitlines()]
    assert told == [f"{folder}/b.png: blue", f"{folder}/more/c.JPG: blue", f"{red}: red"]
    for unusable in (f"{folder}/bad.png", "absent.png", "\\x1b[2Jodd.png"):
        assert unusable in printed.err
    assert "3 of 6 images cannot be used" in printed.err
    assert "\x1b" not in printed.out + printed.err

    assert main([*given, "--json"]) == 5
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line["image"] for line in lines if "label" in line] == [
        *(f"{folder}/b.png", f"{folder}/more/c.JPG", str(red))
    ]
    assert sum("cannot be used" in line.get("error", "") for line in lines) == 3


def test_a_folder_without_images_is_told(bundle, tmp_path, capsys) -> None:
    (tmp_path / "empty").mkdir()
    assert main(["bundle", "run", str(bundle), str(tmp_path / "empty")]) == 5
    assert "contains no images" in capsys.readouterr().err


def test_too_many_threads_are_a_wrong_request(bundle, image, capsys) -> None:
    assert main(["bundle", "run", str(bundle), str(image), "--threads", "1000000"]) == 2
    assert "from 1 to 256" in capsys.readouterr().err


def test_a_missing_bundle_is_refused(tmp_path, capsys) -> None:
    assert main(["bundle", "run", str(tmp_path / "none.tmkd"), "x.png"]) == 5
    assert "none.tmkd" in capsys.readouterr().err


@pytest.fixture
def run_folder(tmp_path) -> Path:
    (tmp_path / "summary.json").write_text(Json().render(run_report()))
    return tmp_path


def test_two_runs_are_compared(run_folder, capsys) -> None:
    assert main(["compare", str(run_folder), str(run_folder / "summary.json")]) == 0
    assert "| Top-1 " in capsys.readouterr().out
    assert main(["compare", str(run_folder), str(run_folder), "--json"]) == 0
    content = json.loads(capsys.readouterr().out)
    assert content["targets"][0]["top1"]["change"] == 0


def test_a_run_without_summary_is_told(tmp_path, run_folder, capsys) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    assert main(["compare", str(run_folder), str(empty)]) == 2
    assert "summary.json" in capsys.readouterr().err


@pytest.mark.parametrize("content", ["{", "[]", "{}", '{"schema_version": 2}', "\x00"])
def test_a_summary_that_is_none_is_refused(tmp_path, run_folder, content) -> None:
    broken = tmp_path / "broken.json"
    broken.write_text(content)
    assert main(["compare", str(run_folder), str(broken)]) == 5
