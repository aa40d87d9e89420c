"""A teacher that knows nothing, a distillation that harms and a fine-tuning that destroys."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from project import Project, new_project

from tmkd_deploy.cli.main import main
from tmkd_deploy.data.prepared import PreparedData
from tmkd_deploy.quantize import calibration_set

UNTRAINED = ("--set", "teacher.visual.epochs=0")
HARMFUL = (
    *("--set", "distill.weak_teacher=warn"),
    *("--set", "distill.alpha=1000", "--set", "quantize.learning_rate=0.5"),
)


@pytest.fixture(scope="module")
def shared(images: Path, tmp_path_factory: pytest.TempPathFactory) -> Project:
    """One project for all tests, in the order of the file: each goes on where the last stopped."""
    return new_project(tmp_path_factory.mktemp("candidates") / "project", images)


@pytest.fixture
def bad(shared: Project, monkeypatch: pytest.MonkeyPatch) -> Project:
    monkeypatch.chdir(shared.folder)
    return shared


def test_a_teacher_near_chance_stops_the_run(bad, capsys) -> None:
    for _ in range(2):  # the second time its artifact is reused
        code = main(["distill", *UNTRAINED])
        said = capsys.readouterr().err
        assert code == 1, said
        assert "Error: The teacher is not above chance: its top-1 is " in said
        assert "teacher.visual.weights" in said and "distill.weak_teacher" in said
    assert (bad.run_folder / "train_teacher" / "manifest.json").exists()
    assert not (bad.run_folder / "score_views").exists()


def test_with_the_switch_the_best_that_was_made_ships(bad, monkeypatch, capsys) -> None:
    with monkeypatch.context() as patch:
        forbid_the_test_split(patch)
        code = main(["export", "--target", "cpu", "--json", *UNTRAINED, *HARMFUL])
    told = capsys.readouterr()
    assert code == 0, told.err
    stages = {each["stage"]: each for each in json.loads(told.out)["stages"]}
    assert stages["train_teacher"]["reused"]  # what was trained before the stop
    student, quantized = stages["distill"]["record"], stages["quantize"]["record"]
    assert student["ships"] == "baseline" and student["gain"]["points"] < 0
    assert student["choice"].startswith("Distillation lost ")
    assert student["weak_teacher"].startswith("The teacher is worse than the student")
    assert quantized["ships"] == "calibrated" and quantized["gain"]["points"] < 0
    assert quantized["choice"].endswith("; the calibrated student ships.")
    top1 = {name: each["top1"] for name, each in quantized["candidates"].items()}
    assert top1["calibrated"] > top1["fine_tuned"] + 0.2


def test_the_verdict_and_the_report_say_so(bad, capsys) -> None:
    code = main(["run", "--target", "cpu", *UNTRAINED, *HARMFUL])
    told = capsys.readouterr()
    assert code in (0, 1, 3), told.err
    records = {name: bad.manifest(name)["record"] for name in ("train_teacher", "distill")}
    choices = [records["distill"]["choice"], bad.manifest("quantize")["record"]["choice"]]
    weak = [records["train_teacher"]["weakness"], records["distill"]["weak_teacher"]]
    summary = json.loads((bad.run_folder / "summary.json").read_text(encoding="utf-8"))
    assert summary["choices"] == choices
    assert summary["targets"]["cpu"]["verdict"]["warnings"][:2] == weak
    rows = {row["representation"]: row for row in summary["targets"]["cpu"]["ledger"]}
    assert rows["student"]["label"] == "Baseline student"
    assert rows["student_distilled"]["label"] == "Distilled student"
    # the quantized student is the baseline, calibrated
    assert rows["student"]["top1"] > rows["student_distilled"]["top1"] + 0.2
    assert rows["fake_quantized"]["top1"] > rows["student_distilled"]["top1"] + 0.2
    page = (bad.run_folder / "report.html").read_text(encoding="utf-8")
    assert choices[0] in page.partition('id="verdict"')[0]
    assert choices[0] in " ".join(told.out.split())


def test_the_switch_back_stops_the_finished_run(bad, capsys) -> None:
    code = main(["distill", *UNTRAINED, *HARMFUL, "--set", "distill.weak_teacher=stop"])
    assert code == 1
    assert "The teacher is not above chance" in capsys.readouterr().err


def forbid_the_test_split(patch: pytest.MonkeyPatch) -> None:
    """Fail wherever prepared data are asked for it.

    The guard that refuses calibration on test images must compare with them, and chooses nothing.
    """
    patch.setattr(calibration_set, "_require_no_overlap", lambda rows, data: None)
    for name in ("images", "labels", "keys"):
        original = getattr(PreparedData, name)

        def guarded(self, split, original=original):
            assert split != "test", "the test split is read before the verdict"
            return original(self, split)

        patch.setattr(PreparedData, name, guarded)
