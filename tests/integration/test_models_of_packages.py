"""A model of an installed package, from images to a bundle through the command line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from own_package import install
from project import Done, Project

from tmkd_deploy.runtime import load

RECIPE = """\
name: small
threads: 1
data: {source: folder, train: IMAGES/train, test: IMAGES/test, image_size: 32}
teacher:
  visual: {model: "acme-nets:tiny", epochs: 6, batch_size: 16, learning_rate: 0.01}
  text: {epochs: 1, batch_size: 32}
student: {model: "acme-nets:tiny"}
distill: {epochs: 6, batch_size: 16, learning_rate: 0.01, weak_teacher: warn, baseline: false}
quantize: {epochs: 0, calibration: {images: 32}}
export: {parity_images: 8}
measure: {threads: 1, min_runs: 40, min_seconds: 0.1, warmup_seconds: 0.05}
targets:
  - {target: cpu, precisions: [int8], budgets: {engine_size_mb: 5}}
"""


def test_a_model_of_a_package_is_bundled_and_its_change_is_noticed(
    images: Path, tmp_path: Path
) -> None:
    module = install(tmp_path / "installed")
    project = Project(tmp_path / "project")
    project.folder.mkdir()
    project.recipe.write_text(RECIPE.replace("IMAGES", str(images)), encoding="utf-8")
    environment = {"PYTHONPATH": str(module.parent)}
    done = project.run("bundle", "--json", environment=environment)
    assert done.code == 0, done.told
    (bundle,) = (project.run_folder / "bundle" / "cpu").glob("*.tmkd")
    image = next((images / "test" / "down").glob("*.png"))
    classes = {folder.name for folder in (images / "test").iterdir()}
    assert load(bundle).predict(image).label in classes
    student = json.loads((project.run_folder / "distill/manifest.json").read_text())["record"]
    assert (student["model"], student["weights"]) == ("acme-nets:tiny", "model")
    assert student["feature_width"] == 16
    plan = ("run", "--dry-run", "--json")
    found = runs(project.run(*plan, environment=environment))
    assert [stage for stage, is_stale in found.items() if is_stale] == ["report"]
    module.write_text(module.read_text(encoding="utf-8") + "\n# changed\n", encoding="utf-8")
    found = runs(project.run(*plan, environment=environment))
    assert found["train_teacher"] and found["distill"] and not found["prepare"]


def runs(done: Done) -> dict[str, bool]:
    """Which stages a plan says would run."""
    assert done.code == 0, done.told
    return {each["stage"]: each["runs"] for each in done.json()["stages"]}


@pytest.mark.parametrize("command", [("recipe", "check"), ("distill",)])
def test_a_package_that_is_not_installed_is_named(
    fresh_project: Project, command: tuple[str, ...]
) -> None:
    fresh_project.replace("resnet10t", '"acme-nets:tiny"')
    done = fresh_project.run(*command)
    assert done.code == 2 and "once the package is installed" in done.err, done.told
