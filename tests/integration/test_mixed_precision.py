"""Budgets that force layers out of INT8, through the whole chain."""

from __future__ import annotations

import json

import pytest
from planted_layer import PLANTED, plant
from project import Done, Project

from tmkd_deploy import artifacts
from tmkd_deploy.artifacts import Artifact
from tmkd_deploy.cli.main import main
from tmkd_deploy.records.distillation import StudentRecord

OPTIONS = ("--target", "cpu", "--json", "--set", "quantize.epochs=0")
SEARCH = (
    *("--set", "quantize.mixed_precision_trials=3", "--set", "targets.cpu.precisions=[int8]"),
    *("--set", "targets.cpu.budgets.quantization_drop_points=30"),
)


@pytest.fixture(scope="module")
def planted_run(
    complete: tuple[Project, Done], tmp_path_factory: pytest.TempPathFactory
) -> Project:
    """A finished run whose student was exchanged for one with a layer that eight bits ruin."""
    from safetensors.torch import load_file, save_file

    finished, done = complete
    assert done.code == 0, done.told
    project = finished.copy_to(tmp_path_factory.mktemp("planted") / "project")
    folder = project.run_folder / "distill"
    found: Artifact[StudentRecord] = artifacts.read(folder, "distill", StudentRecord)
    files = {name: found.path(name).read_bytes() for name in found.manifest.files}
    weights = f"{found.record.ships}.safetensors"
    parameters = load_file(found.path(weights))
    plant(parameters, "network.backbone.")
    with artifacts.writing(
        folder,
        kind="distill",
        fingerprint=found.manifest.fingerprint,
        inputs=found.manifest.inputs,
    ) as draft:
        for name, content in files.items():
            (draft.folder / name).write_bytes(content)
        save_file(parameters, draft.folder / weights)
        draft.record = found.record
    return project


@pytest.fixture
def planted(planted_run: Project, monkeypatch: pytest.MonkeyPatch) -> Project:
    """The same run for both tests: what one has tried, the other need not try again."""
    monkeypatch.chdir(planted_run.folder)
    return planted_run


def command(capsys: pytest.CaptureFixture[str], *arguments: str):
    code = main([*arguments, *OPTIONS])
    told = capsys.readouterr()
    return code, json.loads(told.out), told.err


def facts_of(told, stage: str):
    return next(each["record"] for each in told["stages"] if each["stage"] == stage)


def test_where_no_choice_keeps_the_budgets_the_program_says_so(planted, capsys) -> None:
    too_small = ("--set", "targets.cpu.budgets.engine_size_mb=0.001")
    code, told, said = command(capsys, "gate", *SEARCH, *too_small)
    sought = facts_of(told, "mixed_precision")
    assert code == 1
    assert sought["outcome"] == "none"
    assert "No number of excluded layers makes the INT8 engine for cpu meet its budgets" in said
    assert len(sought["trials"][-1]["not_kept"]) == 3, sought


def test_a_budget_forces_the_planted_layer_out_and_is_kept(planted, capsys) -> None:
    code, told, _ = command(capsys, "gate", *SEARCH)
    sought = facts_of(told, "mixed_precision")
    assert code == 0, sought
    assert sought["outcome"] == "within", sought
    assert facts_of(told, "sensitivity")["layers"][0]["layer"] == PLANTED
    first, last = sought["trials"]
    assert first["excluded_layers"] == [] and first["points"] < -30 and first["not_kept"]
    assert last["excluded_layers"] == [PLANTED] and last["points"] >= -30 and not last["not_kept"]
    assert facts_of(told, "quantize")["excluded_layers"] == [PLANTED]
    assert facts_of(told, "gate")["verdict"]["outcome"] == "passed"
    # the engines were tried on one split and the verdict is on another
    assert facts_of(told, "gate")["measurements"]["split"] == "test"
    tried = [planted.manifest(f"trial/{count}-excluded")["record"] for count in (0, 1)]
    assert [each["measurements"]["split"] for each in tried] == ["val", "val"]
    again, told, _ = command(capsys, "gate", *SEARCH)
    assert again == 0 and all(stage["reused"] for stage in told["stages"])
