"""A model that was trained elsewhere: quantized, built, measured, judged, bundled and reported."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import torch
from project import Project, new_project
from trained_net import small_resnet, trained

from tmkd_deploy.api import Project as Program
from tmkd_deploy.errors import WeakTeacher
from tmkd_deploy.runtime import load

RECIPE = """\
name: small
threads: 1
data: {source: folder, train: IMAGES/train, test: IMAGES/test, image_size: 32}
student:
  model: resnet10t
  model_kwargs: {channels: [8, 8, 16, 16], stem_width: 8}
  weights: mine.pt
distill: {epochs: 0}
quantize: {epochs: 1, calibration: {images: 32}}
export: {parity_images: 8}
measure: {threads: 1, min_runs: 40, min_seconds: 0.1, warmup_seconds: 0.05}
targets:
  - target: cpu
    precisions: [int8]
    budgets: {accuracy_drop_points: 20, quantization_drop_points: 20, speedup_over_teacher: 0.01}
"""
PASSED_ON = ("train_teacher", "distill")


@pytest.fixture
def mine(images: Path, tmp_path: Path) -> Project:
    """A project with the weights of a network that tells the classes apart."""
    project = new_project(tmp_path / "mine", images)
    project.recipe.write_text(RECIPE.replace("IMAGES", str(images)), encoding="utf-8")
    # what the recipe's model normalises with if it is not told otherwise
    net = trained(small_resnet(), images / "train", 128 / 255, 128 / 255)
    torch.save(net.state_dict(), project.folder / "mine.pt")
    project.replace("image_size: 32}", "image_size: 32, mean: MEAN, std: MEAN}")
    mean = "[0.50196, 0.50196, 0.50196]"
    project.recipe.write_text(
        project.recipe.read_text(encoding="utf-8").replace("MEAN", mean), encoding="utf-8"
    )
    return project


def test_it_goes_from_weights_to_bundle_and_every_word_is_of_the_given_model(
    mine: Project,
) -> None:
    planned = json.loads(mine.run("run", "--dry-run", "--json").out)["stages"]
    names = [each["stage"] for each in planned]
    assert names[:2] == ["prepare", "quantize"] and "score_views" not in names
    assert planned[1]["seconds"] > 0

    done = mine.run("run")
    assert done.code == 0, done.told
    assert "The given model has the weights file mine.pt; its top-1 is" in done.err
    assert f"Stage 2 of {len(planned)}: quantize" in done.err
    assert "nothing was distilled" in done.out
    for told in (done.out, done.err, (mine.run_folder / "report.md").read_text("utf-8")):
        assert not re.search(r"(?<!speedup_over_)(?i:teacher)|istilled stud", told), told
    page = (mine.run_folder / "report.html").read_text("utf-8")
    assert "Given model and selected engine" in page and "Teacher views" not in page
    summary = json.loads((mine.run_folder / "summary.json").read_text("utf-8"))
    assert summary["teacher"] is None and summary["view_weights"] is None
    target = summary["targets"]["cpu"]
    first, second = target["ledger"][:2]
    assert (first["label"], first["representation"]) == ("Given model", "teacher")
    assert (second["representation"], second["compared_with"]) == ("fake_quantized", "teacher")
    engine = next(each for each in target["ledger"] if each["representation"] == "engine")
    assert engine["against"]["teacher"] == engine["against"]["student"]
    assert first["top1"] > 0.9 and engine["top1"] > 0.9
    checks = {each["budget"]: each for each in target["verdict"]["checks"]}
    assert all(each["outcome"] == "passed" for each in checks.values()), checks
    assert "against the given model" in checks["accuracy_drop_points"]["explanation"]

    bundles = list((mine.run_folder / "bundle" / "cpu").glob("*.tmkd"))
    assert len(bundles) == 1 and load(bundles[0]).engine.precision == "int8"
    # weights that were given are the weights that were quantized
    assert mine.manifest("distill")["record"]["candidates"].keys() == {"given"}
    assert mine.run("run", "--json").json()["stages"][0]["reused"]


def test_classes_in_another_order_stop_the_run_with_what_to_look_at(mine: Project) -> None:
    weights = torch.load(mine.folder / "mine.pt")
    for name in ("fc.weight", "fc.bias"):
        weights[name] = weights[name].roll(1, 0)
    torch.save(weights, mine.folder / "mine.pt")
    done = mine.run("quantize")
    assert done.code == WeakTeacher.exit_code, done.told
    assert "The given model is not above chance" in done.err
    for advice in ("data.class_names", "data.mean", "red, green and blue"):
        assert advice in done.err
    assert not (mine.run_folder / "quantize").exists()


def test_weights_of_other_classes_are_refused_by_the_check_and_by_the_run(mine: Project) -> None:
    weights = torch.load(mine.folder / "mine.pt")
    weights["fc.weight"], weights["fc.bias"] = torch.zeros(5, 16), torch.zeros(5)
    torch.save(weights, mine.folder / "mine.pt")
    for command in (("recipe", "check"), ("quantize",)):
        done = mine.run(*command)
        assert done.code == 2 and "has not been trained on these classes" in done.err, done.told


def test_epochs_0_without_weights_is_refused(mine: Project) -> None:
    for command in (("recipe", "check"), ("run", "--dry-run"), ("quantize",)):
        done = mine.run(*command, "--set", "student.weights=none")
        assert done.code == 2 and "it has none" in done.err, done.told
    told = mine.run("recipe", "check").out
    assert "teacher" not in told and "weights: " in told


def test_a_program_gives_a_module_alone(images: Path, tmp_path: Path) -> None:
    recipe = {
        "name": "small",
        "threads": 1,
        "data": {
            "source": "folder",
            "train": images / "train",
            "test": images / "test",
            "image_size": 32,
        },
        "distill": {"epochs": 0},
        "quantize": {"epochs": 0, "calibration": {"images": 32}},
        "targets": [{"target": "cpu"}],
    }
    net = trained(small_resnet(), images / "train", 0.0, 1.0)
    record = Program(recipe, student=net, runs=tmp_path).quantize()
    assert record.ships == "calibrated" and record.top1 > 0.9
