"""What the stage commands ask of the pipeline, and how they tell what it answers."""

import json
import shlex
from pathlib import Path

import pytest
from report_fixture import run_report

from tmkd_deploy.artifacts import Record
from tmkd_deploy.cli.main import main
from tmkd_deploy.errors import ExitCode
from tmkd_deploy.events import Events
from tmkd_deploy.gate.gate import gate
from tmkd_deploy.pipeline import run as pipeline_run
from tmkd_deploy.recipe.schema import Budgets

RECIPE = "name: a\ndata: {source: elpv}\ntargets: [{target: cpu, budgets: {accuracy: 0.8}}]\n"


class Distilled(Record):
    top1: float


PRECISIONS = ["int8", "fp16", "fp32"]


class Pipeline:
    """Takes the place of the training, which takes minutes, and keeps what it was asked."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.exit_code = ExitCode.OK
        self.asked: dict = {}

    def run(self, recipe, *, runs, goal, targets, device, events: Events, force=False, only=False):
        self.asked = {
            "recipe": recipe,
            "runs": runs,
            "goal": goal,
            "targets": targets,
            "device": device,
            "force": force,
            "only": only,
        }
        events.say("The pipeline is at work.")
        measured = run_report().targets[0].gate.measurements
        stages = [
            ("distill", None, Distilled.model_construct(top1=float("nan"))),
            ("measure", "cpu", measured),
            (
                "gate",
                "cpu",
                gate(Budgets(accuracy=0.78), measured, PRECISIONS),
            ),
        ]
        return pipeline_run.RunResult(
            folder=self.folder,
            stages=[
                pipeline_run.StageResult(
                    stage=stage,
                    target=target,
                    reused=stage == "distill",
                    folder=self.folder / stage,
                    seconds=75.0,
                    record=record,
                )
                for stage, target, record in stages
            ],
            exit_code=self.exit_code,
        )


@pytest.fixture
def pipeline(tmp_path, monkeypatch) -> Pipeline:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "recipe.yaml").write_text(RECIPE)
    pipeline = Pipeline(Path("runs/a"))
    monkeypatch.setattr(pipeline_run, "run", pipeline.run)
    return pipeline


@pytest.mark.parametrize(
    ("command", "goal"),
    [
        ("distill", "distill"),
        ("quantize", "quantize"),
        ("export", "build"),
        ("validate", "measure"),
        ("gate", "gate"),
        ("bundle", "bundle"),
        ("report", "report"),
        ("run", "report"),
    ],
)
def test_each_command_has_its_goal(pipeline, command, goal) -> None:
    assert goal in pipeline_run.GOALS
    assert main([command]) == 0
    assert pipeline.asked["goal"] == goal
    assert pipeline.asked["runs"] == Path("runs")
    assert pipeline.asked["targets"] is None
    assert not pipeline.asked["force"] and not pipeline.asked["only"]


def test_options_reach_the_pipeline(pipeline) -> None:
    arguments = "gate recipe.yaml --set seed=3 --set name=b --runs elsewhere --force --only"
    assert main(arguments.split()) == 0
    asked = pipeline.asked
    assert (asked["recipe"].seed, asked["recipe"].name) == (3, "b")
    assert asked["runs"] == Path("elsewhere")
    assert asked["force"] and asked["only"]


def test_targets_are_chosen_by_name(pipeline) -> None:
    assert main(["export", "--target", "jetson", "--target", "cpu"]) == 0
    assert pipeline.asked["targets"] == ["jetson", "cpu"]


@pytest.mark.parametrize("arguments", [["bundle", "recipe.yaml"], ["bundle", "--target", "cpu"]])
def test_bundle_packs_unless_told_otherwise(pipeline, arguments) -> None:
    assert main(arguments) == 0
    assert pipeline.asked["goal"] == "bundle"


@pytest.mark.parametrize("outcome", [ExitCode.GATE_FAILED, ExitCode.INCONCLUSIVE])
@pytest.mark.parametrize(
    ("command", "judging"),
    [("gate", True), ("run", True), ("validate", False), ("bundle", False), ("report", False)],
)
def test_only_gate_and_run_end_with_the_gates_code(pipeline, command, judging, outcome) -> None:
    pipeline.exit_code = outcome
    assert main([command]) == (outcome if judging else 0)


def test_people_get_tables_and_the_next_command(pipeline, capsys) -> None:
    assert main(["validate"]) == 0
    told = capsys.readouterr()
    for words in ("Baseline student", "82.8 %", "p99", "unchanged, reused", "✓ passed"):
        assert words in told.out
    assert told.out.endswith("Next: tmkd-deploy gate\n")
    assert "\x1b" not in told.out
    assert told.err == "The pipeline is at work.\n"


def test_a_failed_gate_leads_to_its_reasons(pipeline, capsys) -> None:
    pipeline.exit_code = ExitCode.GATE_FAILED
    assert main(["gate"]) == 1
    assert capsys.readouterr().out.endswith("report: tmkd-deploy report\n")


@pytest.mark.parametrize("command", ["run", "report"])
def test_the_end_leads_to_the_report(pipeline, command, capsys) -> None:
    main([command])
    assert capsys.readouterr().out.endswith(f"Next: open {Path('runs/a/report.html')}\n")


def test_the_next_command_names_a_recipe_that_is_not_the_default(pipeline, capsys) -> None:
    Path("my recipe.yaml").write_text(RECIPE)
    main(["distill", "my recipe.yaml"])
    assert capsys.readouterr().out.endswith("Next: tmkd-deploy quantize 'my recipe.yaml'\n")


@pytest.mark.parametrize(
    ("given", "following"),
    [
        ("distill --runs 'my runs' --target cpu", "quantize --target cpu --runs 'my runs'"),
        ("quantize --set name=b", "export --set name=b"),
        ("export --device ssh://board --target cpu", "validate --target cpu --device ssh://board"),
        # quantize has no --device
        ("distill --device ssh://board", "quantize"),
        ("validate --force --quiet", "gate"),
        ("gate --only --runs there", "bundle --runs there --only"),
        ("bundle --only", "report --only"),
    ],
)
def test_the_next_command_goes_on_with_the_same_run(pipeline, given, following, capsys) -> None:
    assert main(shlex.split(given)) == 0
    assert capsys.readouterr().out.endswith(f"Next: tmkd-deploy {following}\n")
    pipeline.asked = {}
    assert main(shlex.split(following)) == 0, "the next command cannot be run as it was printed"
    assert pipeline.asked


def test_a_failed_gate_leads_to_the_report_of_the_same_run(pipeline, capsys) -> None:
    pipeline.exit_code = ExitCode.GATE_FAILED
    assert main(["gate", "--only", "--runs", "my runs"]) == 1
    out = capsys.readouterr().out
    assert out.endswith("report: tmkd-deploy report --runs 'my runs' --only\n")


def test_the_path_of_the_report_is_quoted(pipeline, capsys) -> None:
    pipeline.folder = Path("my runs/a")
    assert main(["run", "--runs", "my runs"]) == 0
    assert capsys.readouterr().out.endswith("Next: open 'my runs/a/report.html'\n")


def test_machines_get_one_json_object_and_nothing_else(pipeline, capsys) -> None:
    pipeline.exit_code = ExitCode.INCONCLUSIVE
    assert main(["run", "--json"]) == 3
    told = capsys.readouterr()

    def no_constants(name: str) -> None:
        raise AssertionError(f"{name} is no JSON")

    content = json.loads(told.out, parse_constant=no_constants)
    assert (content["command"], content["exit_code"]) == ("run", 3)
    assert content["run"] == str(Path("runs/a"))
    distill, measure, gate = content["stages"]
    assert distill["reused"] and distill["record"] == {"top1": None}
    assert measure["target"] == "cpu" and measure["record"]["test_images"] == 524
    assert gate["record"]["verdict"]["checks"]
    assert told.err == "The pipeline is at work.\n"


def test_old_keys_are_warned_of_and_run(pipeline, capsys) -> None:
    Path("recipe.yaml").write_text(f"{RECIPE}quantize: {{leave_out: [fc]}}\n")
    assert main(["run", "--quiet", "--set", "distill.decay=steps"]) == 0
    assert pipeline.asked["recipe"].quantize.exclude_layers == ["fc"]
    assert pipeline.asked["recipe"].distill.lr_schedule == "multistep"
    in_file, in_override = capsys.readouterr().err.splitlines()
    assert in_file.startswith("Warning: recipe.yaml:4: quantize.leave_out was renamed to ")
    assert in_override.startswith("Warning: --set distill.decay=steps: distill.decay was renamed")


def test_quiet_is_quiet(pipeline, capsys) -> None:
    assert main(["run", "--quiet"]) == 0
    assert capsys.readouterr().err == ""


def test_a_wrong_recipe_never_reaches_the_pipeline(pipeline) -> None:
    assert main(["run", "--set", "distil.epochs=3"]) == 2
    assert pipeline.asked == {}
