"""Oblong, letterboxed, grey: from a recipe to `bundle run`, the pixels stay the same."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from project import Done, Project, new_project
from safetensors.numpy import load_file
from striped_images import write_folder

from tmkd_deploy.runtime import load, verify

SIZE = (32, 48)


@pytest.fixture(scope="module")
def oblong(tmp_path_factory: pytest.TempPathFactory) -> tuple[Project, Done, Path]:
    """A complete run on square images of 40 pixels, for an input of 32 x 48."""
    root = tmp_path_factory.mktemp("oblong")
    write_folder(root / "train", per_class=30, seed=1, size=40)
    write_folder(root / "test", per_class=8, seed=2, size=40)
    project = new_project(root / "project", root)
    keys = f"image_size: {list(SIZE)}, resize: letterbox, grayscale: true, mean: auto, std: auto"
    project.replace("image_size: 32", keys)
    text = project.recipe.read_text(encoding="utf-8").replace("epochs: 8", "epochs: 4")
    cpu = "targets:\n  - target: cpu\n    budgets: {accuracy: 0.4}\n"
    project.recipe.write_text(text[: text.index("targets:")] + cpu, encoding="utf-8")
    planned = project.run("run", "--dry-run")
    assert planned.code == 0, planned.told
    return project, project.run("run"), root


@pytest.fixture(scope="module")
def bundle(oblong: tuple[Project, Done, Path]) -> Path:
    project, done, _ = oblong
    assert done.code == 0, done.told
    (found,) = (project.run_folder / "bundle" / "cpu").glob("*.tmkd")
    return found


def test_the_bundle_knows_how_to_resize(bundle: Path) -> None:
    manifest = verify(bundle).manifest
    assert (manifest.height, manifest.width) == SIZE
    assert (manifest.resize, manifest.grayscale) == ("letterbox", True)


def test_the_network_that_ships_subtracts_the_mean_of_the_data(
    oblong: tuple[Project, Done, Path],
) -> None:
    project, done, _ = oblong
    assert done.code == 0, done.told
    data = project.manifest("prepare")["record"]
    assert len(set(data["mean"])) == len(set(data["std"])) == 1, "grey has one mean"
    student = project.manifest("distill")["record"]["ships"]
    saved = load_file(project.run_folder / "distill" / f"{student}.safetensors")
    np.testing.assert_allclose(saved["scale"], 1 / data["std"][0], rtol=1e-6)
    np.testing.assert_allclose(saved["offset"], -data["mean"][0] / data["std"][0], rtol=1e-6)


def test_the_application_computes_what_was_measured(
    oblong: tuple[Project, Done, Path], bundle: Path
) -> None:
    project, _, images = oblong
    precision = project.manifest("gate/cpu")["record"]["shipped"]
    measured = np.load(project.run_folder / "measure" / "cpu" / f"logits-{precision}.npy")
    index = json.loads((project.run_folder / "prepare" / "index.json").read_text("utf-8"))
    predictions = load(bundle).predict_batch([images / key for key in index["test"]["keys"]])
    computed = np.stack([each.logits for each in predictions])
    np.testing.assert_allclose(computed, measured, atol=1e-5)
    assert len({each.label for each in predictions}) > 1

    run = project.run("bundle", "run", str(bundle), str(images / "test"), "--json")
    assert run.code == 0, run.told
    lines = [json.loads(line) for line in run.out.splitlines()]
    labels = {Path(line["image"]).relative_to(images).as_posix(): line["label"] for line in lines}
    assert labels == {
        key: each.label for key, each in zip(index["test"]["keys"], predictions, strict=True)
    }
