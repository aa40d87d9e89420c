"""`quantize --sensitivity`: what is asked of the pipeline, and how the ranking is told."""

import json
from pathlib import Path

import pytest

from tmkd_deploy.cli.main import main
from tmkd_deploy.cli.render_sensitivity import as_text
from tmkd_deploy.pipeline import run as pipeline_run
from tmkd_deploy.records.quantization import Cost, LayerSensitivity, SensitivityRecord

RECIPE = "name: a\ndata: {source: elpv}\ntargets: [{target: cpu}]\n"


def cost(divergence: float) -> Cost:
    return Cost(divergence=divergence, teacher_divergence=-0.0001, points=-1.5, changed=0.02)


FACTS = SensitivityRecord(
    images=256,
    calibrated_on=12,
    quant_scheme="unsigned",
    excluded_layers=["stem"],
    top1=0.9,
    teacher_divergence=0.1,
    layers=[
        LayerSensitivity(layer="fc", alone=cost(0.25), without=cost(0.002)),
        LayerSensitivity(layer="conv1", alone=cost(0.0004), without=cost(0.3)),
    ],
    by_count=[cost(0.26), cost(0.002), cost(0.0)],
)


@pytest.fixture
def asked(tmp_path, monkeypatch):
    """What the pipeline was asked; a stand-in answers, for the ranking itself takes long."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    (tmp_path / "recipe.yaml").write_text(RECIPE)
    seen = {}

    def run(recipe, **asked):
        seen.update(asked)
        folder = Path("runs/a")
        stage = pipeline_run.StageResult(
            "sensitivity", None, False, folder / "sensitivity", 3.0, FACTS
        )
        return pipeline_run.RunResult(folder, [stage], pipeline_run.ExitCode.OK)

    monkeypatch.setattr(pipeline_run, "run", run)
    return seen


def test_layers_are_ranked_for_people_and_the_next_command_is_named(asked, capsys):
    assert main(["quantize", "--sensitivity", "--force"]) == 0
    assert asked["goal"] == "sensitivity" and asked["force"] and asked["goal"] in pipeline_run.GOALS
    told = capsys.readouterr().out
    fc, conv = (
        next(line for line in told.splitlines() if name in line) for name in ("fc", "conv1")
    )
    assert fc.split() == ["fc", "250.0", "−0.100", "−1.5", "2.0", "%", "258.0"]
    assert told.index(fc) < told.index(conv)
    assert "12 of the images were also used for calibration." in told
    assert "no engines were measured here" in told
    assert (
        "quantize.mixed_precision_trials=4" in told
        and "'quantize.exclude_layers=[stem, fc]'" in told
    )


def test_machines_get_the_facts_and_the_gains(asked, capsys):
    assert main(["quantize", "--sensitivity", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["command"] == "quantize --sensitivity" and told["gains_ms"] == {}
    (stage,) = told["stages"]
    assert stage["record"] == FACTS.model_dump(mode="json")


def test_what_a_layer_gains_stands_beside_it_where_it_is_known(monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    told = as_text(FACTS, {"cpu": {"fc": -0.0104}}, "other.yaml")
    assert "Gains on cpu" in told and "−0.010 ms" in told
    assert "no engines were measured" not in told
    assert "tmkd-deploy run other.yaml --set" in told
