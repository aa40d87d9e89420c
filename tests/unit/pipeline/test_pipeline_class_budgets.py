"""A budget of a class that the data do not have stops a run before anything is trained."""

from __future__ import annotations

from pathlib import Path

import pytest
from striped_images import write_folder

from tmkd_deploy.errors import RequestError
from tmkd_deploy.events import SilentEvents
from tmkd_deploy.pipeline.run import run
from tmkd_deploy.recipe.load import load

RECIPE = """\
name: small
data: {source: folder, path: images, image_size: 32}
teacher: {visual: {model: test_resnet}}
student: {model: resnet10t}
targets:
  - target: cpu
    budgets: {BUDGET: {scratched: 0.9}}
"""


@pytest.mark.parametrize("budget", ["recall", "precision"])
def test_a_budget_of_an_unknown_class_is_refused_before_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, budget: str
) -> None:
    write_folder(tmp_path / "images", per_class=20, seed=1)
    (tmp_path / "recipe.yaml").write_text(RECIPE.replace("BUDGET", budget), encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    recipe = load(Path("recipe.yaml"), (), lambda _: None)
    with pytest.raises(RequestError, match="The data have no class 'scratched'") as error:
        run(recipe, runs=Path("runs"), goal="gate", targets=None, events=SilentEvents())
    assert error.value.where == f"targets.cpu.budgets.{budget}"
    assert not (tmp_path / "runs" / "small" / "train_teacher").exists()
