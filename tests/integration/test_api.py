"""The pipeline from Python: the documented script, modules of one's own, and what is reused."""

from __future__ import annotations

import logging
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from markdown_blocks import blocks
from project import Project as Folder
from recorded_events import RecordedEvents
from torch import nn

from tmkd_deploy.api import Project, RunResult, TmkdError
from tmkd_deploy.runtime import load

PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "models.md"
SHORT = """
distill: {epochs: 2, batch_size: 16, weak_teacher: warn}
quantize: {epochs: 1, calibration: {images: 32}}
export: {parity_images: 8}
measure: {threads: 1, min_runs: 40, min_seconds: 0.1, warmup_seconds: 0.05}
targets: [{target: cpu, precisions: [int8], despite_verdict: true}]
"""


def test_the_documented_script_goes_from_data_to_bundle(fresh_project: Folder) -> None:
    (script,) = blocks(PAGE, "python")
    (fresh_project.folder / "script.py").write_text(script.text, encoding="utf-8")
    head, _, _ = fresh_project.recipe.read_text(encoding="utf-8").partition("student:")
    head = head.replace("epochs: 8", "epochs: 1")
    fresh_project.recipe.write_text(head + SHORT, encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "script.py"],
        cwd=fresh_project.folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    target, file = done.stdout.split()
    bundle = load(fresh_project.run_folder / "bundle" / target / file)
    assert bundle.engine.precision == "int8"
    quantized = fresh_project.manifest("quantize")["record"]
    assert quantized["layers"] == ["body.0", "head"]
    assert fresh_project.manifest("distill")["record"]["model"].startswith("own:MyNet@")
    assert fresh_project.manifest("distill")["record"]["feature_width"] == 16


class Net(nn.Sequential):
    def __init__(self, classes: int = 3) -> None:
        layers = (nn.Conv2d(3, 8, 3, 2, 1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
        super().__init__(*layers, nn.Linear(8, classes))


class Branching(Net):
    def forward(self, images: torch.Tensor) -> Any:
        return super().forward(images if images.mean() > 0 else -images)


@pytest.fixture
def given(images: Path, tmp_path: Path) -> dict[str, Any]:
    """A recipe as a mapping, with a teacher that is not trained."""
    return {
        "name": "small",
        "threads": 1,
        "data": {
            "source": "folder",
            "train": images / "train",
            "test": images / "test",
            "image_size": 32,
        },
        "teacher": {"visual": {"epochs": 0}, "text": {"epochs": 1, "batch_size": 64}},
        "distill": {"epochs": 1, "batch_size": 32, "baseline": False, "weak_teacher": "warn"},
        "targets": [{"target": "cpu"}],
    }


def ran(result: RunResult) -> set[str]:
    return {each.stage for each in result.stages if not each.reused}


def test_a_changed_module_reuses_nothing_that_it_had_a_part_in(
    given: dict[str, Any], tmp_path: Path
) -> None:
    torch.manual_seed(0)
    student, teacher, events = Net(7), Net(3), RecordedEvents()

    def again() -> set[str]:
        made = Project(given, student=student, teacher=teacher, runs=tmp_path, events=events)
        return ran(made.run("distill"))

    assert again() == {"prepare", "train_teacher", "score_views", "distill"}
    assert again() == set()
    with torch.no_grad():
        student[0].weight[0, 0, 0, 0] += 1
    assert again() == {"distill"}
    with torch.no_grad():
        teacher[0].weight[0, 0, 0, 0] += 1
    assert again() == {"train_teacher", "distill"}
    told = [str(each) for each in events.told]
    assert any("for 7 classes in the module and for 3 here" in each for each in told)


def test_a_step_returns_its_record(given: dict[str, Any], tmp_path: Path) -> None:
    project = Project(given, student=Net(3), teacher=Net(3), runs=tmp_path)
    assert project.prepare().train_images == 102
    record = project.train_teacher()
    assert record.visual_model.startswith("own:Net@") and record.weights == "model"
    assert record.weakness is not None and "not above chance" in record.weakness


def test_a_student_that_cannot_be_traced_is_refused_before_the_teacher_is_trained(
    given: dict[str, Any], tmp_path: Path
) -> None:
    project = Project(given, student=Branching(3), teacher=Net(3), runs=tmp_path)
    with pytest.raises(TmkdError, match=r"test_api.py:\d+: return super") as caught:
        project.run("distill")
    assert "cannot be quantized" in caught.value.problem
    assert not (tmp_path / "small" / "train_teacher").exists()


def test_a_wrong_recipe_is_refused_at_once(given: dict[str, Any]) -> None:
    with pytest.raises(TmkdError, match="epoch"):
        Project({**given, "distill": {"epoch": 3}})


def test_warnings_are_logged(
    given: dict[str, Any], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "tmkd_deploy")
    Project(given, teacher=Net(3), runs=tmp_path).train_teacher()
    assert {"INFO", "WARNING"} <= {each.levelname for each in caplog.records}


@pytest.mark.parametrize("model", [3, "resnet18"])
def test_what_is_no_module_is_refused_at_once(given: dict[str, Any], model: Any) -> None:
    with pytest.raises(TmkdError, match="not a module"):
        Project(given, student=model)


def test_a_stage_that_does_not_exist_is_refused(given: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(TmkdError) as refused:
        Project(given, runs=tmp_path).run("bundel")
    assert refused.value.advice == 'Did you mean "bundle"?'
