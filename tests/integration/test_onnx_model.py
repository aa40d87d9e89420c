"""An ONNX file that another tool wrote: quantized, judged and bundled by commands on the file."""

from __future__ import annotations

import importlib.util
import json
import re
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from PIL import Image
from project import Project
from trained_net import small_shufflenet, trained

from tmkd_deploy.runtime import load

HALF = ("--set", "data.mean=[0.5,0.5,0.5]", "--set", "data.std=[0.5,0.5,0.5]")
SHORT = (
    *("--set", "threads=1", "--set", "quantize.epochs=1", "--set", "export.parity_images=8"),
    *("--set", "measure.threads=1", "--set", "measure.min_runs=40"),
    *("--set", "measure.min_seconds=0.1", "--set", "measure.warmup_seconds=0.05"),
    *("--set", "quantize.calibration.images=32"),
    *("--set", "targets.cpu.budgets.quantization_drop_points=20"),
    *("--set", "targets.cpu.precisions=[int8]"),
)
BOTH = ["onnxruntime", *(["openvino"] if importlib.util.find_spec("openvino") else [])]
RACE = ("--set", f"targets.cpu.runtimes=[{','.join(BOTH)}]")


@pytest.fixture
def folder(images: Path, tmp_path: Path) -> Project:
    """A folder with torchvision's ShuffleNet in `net.onnx`, as torch.onnx wrote it."""
    net = torch.nn.Sequential(trained(small_shufflenet(), images / "train"), torch.nn.Softmax(1))
    torch.onnx.export(
        net.eval(),
        (torch.zeros(1, 3, 32, 32),),
        str(tmp_path / "net.onnx"),
        dynamo=False,
        input_names=["pixels"],
        dynamic_axes={"pixels": {0: "batch"}},
        opset_version=17,
    )
    return Project(tmp_path)


def test_commands_on_the_file_lead_to_a_bundle_that_is_right(folder: Project, images: Path) -> None:
    more = ("--data", str(images), *HALF, *SHORT)
    done = folder.run("quantize", "net.onnx", *more)
    assert done.code == 0, done.told
    assert re.search(r"agrees with net.onnx on 100 % of \d+ images", done.err), done.err
    assert "the softmax at its end is omitted" in done.err
    assert "Next: tmkd-deploy export runs/net.yaml --set" in done.out
    assert "Wrote the recipe runs/net.yaml" in done.err

    done = folder.run("bundle", "net.onnx", *more, *RACE)
    assert done.code == 0, done.told
    record = json.loads((folder.folder / "runs/net/distill/manifest.json").read_text())["record"]
    assert (record["model"], record["ships"]) == ("net.onnx", "given")
    gate = json.loads((folder.folder / "runs/net/gate/cpu/manifest.json").read_text())["record"]
    rows = {each["label"]: each["top1"] for each in gate["measurements"]["ledger"]}
    assert rows["Given model"] > 0.9 and rows["INT8 engine, cpu"] > 0.9, rows
    raced = {each["runtime"] or "onnxruntime" for each in gate["measurements"]["engines"]}
    assert raced == {*BOTH}
    assert all(top1 > 0.9 for label, top1 in rows.items() if label.endswith("engine, cpu")), rows

    (file,) = (folder.folder / "runs/net/bundle/cpu").glob("*.tmkd")
    bundle = load(file)
    right = [
        bundle.predict(np.asarray(Image.open(path))).label == path.parent.name
        for path in sorted((images / "test").glob("*/*.png"))
    ]
    assert np.mean(right) > 0.9
    # the recipe is an ordinary one
    assert folder.run("recipe", "check", "runs/net.yaml").code == 0


def test_a_changed_file_is_another_model(folder: Project, images: Path) -> None:
    command = ("distill", "net.onnx", "--data", str(images), *HALF, *SHORT, "--json")
    assert folder.run(*command).code == 0
    assert all(folder.run(*command).reused().values())
    model = onnx.load(folder.folder / "net.onnx")
    bias = next(each for each in model.graph.initializer if each.name.endswith("fc.bias"))
    bias.CopyFrom(onnx.numpy_helper.from_array(np.array([0, 0, 0.5], np.float32), bias.name))
    onnx.save(model, folder.folder / "net.onnx")
    reused = folder.run(*command).reused()
    assert reused["prepare"] and not reused["train_teacher"] and not reused["distill"]


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (("quantize", "net.onnx"), "needs images"),
        (("run", "net.onnx", "--data", "IMAGES", "--dry-run"), "A dry run needs a recipe"),
        (("gate", "--data", "IMAGES"), "The images of a recipe are in the recipe"),
        (("quantize", "none.onnx", "--data", "IMAGES"), "cannot be read"),
    ],
)
def test_what_cannot_be_composed_is_refused(
    folder: Project, images: Path, arguments: tuple[str, ...], problem: str
) -> None:
    done = folder.run(*(each.replace("IMAGES", str(images)) for each in arguments))
    assert done.code in (2, 5) and problem in done.err, done.told
    assert "Traceback" not in done.err


def test_pixels_that_cannot_be_told_are_asked_for(folder: Project, images: Path) -> None:
    done = folder.run("quantize", "net.onnx", "--data", str(images))
    assert done.code == 2 and "is not clear" in done.err, done.told
    assert "--set data.mean=" in done.err and not (folder.folder / "runs/net.yaml").exists()


def test_a_recipe_for_other_images_is_kept(folder: Project, images: Path, tmp_path: Path) -> None:
    assert folder.run("distill", "net.onnx", "--data", str(images), *HALF, *SHORT).code == 0
    before = (tmp_path / "runs/net.yaml").read_text()
    (tmp_path / "other").mkdir()
    done = folder.run("distill", "net.onnx", "--data", "other")
    assert done.code == 2 and "another ONNX file or other images" in done.err
    assert (tmp_path / "runs/net.yaml").read_text() == before
