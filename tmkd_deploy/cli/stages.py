"""The commands that run the pipeline up to a goal."""

from __future__ import annotations

import dataclasses
import json
import shlex
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import typer

from tmkd_deploy.cli import output
from tmkd_deploy.cli.onnx_model import with_recipe
from tmkd_deploy.cli.options import StageOptions, stage_command
from tmkd_deploy.errors import ExitCode

if TYPE_CHECKING:
    from tmkd_deploy.pipeline.run import RunResult


@dataclass(frozen=True)
class StageCommand:
    """A command that runs the pipeline up to `goal`; `next` is the command after it.

    A `gated` command exits with the gate's code. `without` names the options it does not have.
    """

    name: str
    goal: str
    next: str
    help: str
    gated: bool = False
    without: tuple[str, ...] = ("only", "sensitivity", "dry_run")


DISTILL = StageCommand(
    "distill",
    goal="distill",
    next="quantize",
    help="Prepare the data, train the teachers and distil the student.",
)
QUANTIZE = StageCommand(
    "quantize",
    goal="quantize",
    next="export",
    help="Fine-tune the student for INT8.",
    without=("only", "device", "dry_run"),
)
EXPORT = StageCommand(
    "export",
    goal="build",
    next="validate",
    help="Export to ONNX and build an engine for each target.",
)
VALIDATE = StageCommand(
    "validate",
    goal="measure",
    next="gate",
    help="Measure accuracy and latency of the engines.",
)
GATE = StageCommand(
    "gate",
    goal="gate",
    next="bundle",
    help="Check the measurements against the recipe's budgets.",
    gated=True,
    without=("sensitivity", "dry_run"),
)
BUNDLE = StageCommand(
    "bundle",
    goal="bundle",
    next="report",
    help="Pack the engine of each target into one file.",
    without=("sensitivity", "dry_run"),
)
REPORT = StageCommand(
    "report",
    goal="report",
    next="",
    help="Write report.html and summary.json.",
    without=("sensitivity", "dry_run"),
)
RUN = StageCommand(
    "run",
    goal="report",
    next="",
    help="Run every stage, from the data to the report.",
    gated=True,
    without=("only", "sensitivity"),
)

COMMANDS = (RUN, DISTILL, QUANTIZE, EXPORT, VALIDATE, GATE, BUNDLE, REPORT)


def add_to(app: typer.Typer) -> None:
    """Add the commands to `app`, except `quantize` and `bundle`, which have their own modules."""
    for stage in (RUN, DISTILL, EXPORT, VALIDATE, GATE, REPORT):
        app.command(stage.name, help=stage.help)(command(stage))


def command(stage: StageCommand) -> Callable[..., None]:
    """The function behind `stage`, for Typer."""
    return stage_command(lambda options: execute(stage, options), without=stage.without)


def execute(stage: StageCommand, options: StageOptions) -> None:
    """Run the pipeline up to the goal of `stage`, print the result, and exit."""
    options = with_recipe(options)
    if options.dry_run:
        _show_plan(stage, options)
        return
    result = run_pipeline(stage, options)
    exit_code = result.exit_code if stage.gated else _own_code(stage, result)
    if options.as_json:
        output.emit_json(to_json(stage, result, exit_code))
    else:
        from tmkd_deploy.cli import render  # noqa: PLC0415

        output.emit_styled(render.run(result, only_verdicts=stage.goal == "gate"))
        output.emit(_next(stage, result, options, exit_code))
    raise typer.Exit(int(exit_code))


def _show_plan(stage: StageCommand, options: StageOptions) -> None:
    stages = _ask_pipeline("plan_run", stage, options)
    if options.as_json:
        found = [dataclasses.asdict(each) for each in stages]
        output.emit_json({"command": stage.name, "dry_run": True, "stages": found})
        return
    from tmkd_deploy.cli import render  # noqa: PLC0415

    output.emit_styled(render.plan(stages))
    arguments = options.arguments(stage.without)
    output.emit(f"Next: tmkd-deploy {stage.name} {arguments}".rstrip())


def _own_code(stage: StageCommand, result: RunResult) -> ExitCode:
    """The code of a command that no gate decides: it fails where it was to bundle and did not."""
    from tmkd_deploy.records.bundle import BundleRecord  # noqa: PLC0415

    bundles = [each.record for each in result.stages if isinstance(each.record, BundleRecord)]
    withheld = stage.goal == "bundle" and any(each.withheld for each in bundles)
    return ExitCode.GATE_FAILED if withheld else ExitCode.OK


def run_pipeline(stage: StageCommand, options: StageOptions) -> RunResult:
    """Run the pipeline up to the goal of `stage`; only the main process returns."""
    result: RunResult = _ask_pipeline("run", stage, options, only=options.only)
    if not result.is_main_process:
        raise typer.Exit()
    return result


def _ask_pipeline(function: str, stage: StageCommand, options: StageOptions, **more: Any) -> Any:
    """What a function of `pipeline.run` returns for these options."""
    from tmkd_deploy.cli import progress  # noqa: PLC0415
    from tmkd_deploy.recipe.load import load  # noqa: PLC0415

    recipe = load(options.recipe, options.overrides or (), output.warn)
    with progress.listener(options.quiet) as events:
        from tmkd_deploy.pipeline import run as pipeline_run  # noqa: PLC0415

        return getattr(pipeline_run, function)(
            recipe,
            runs=options.runs,
            goal=stage.goal,
            targets=options.targets or None,
            device=options.device,
            events=events,
            force=options.force,
            **more,
        )


def to_json(stage: StageCommand, result: RunResult, exit_code: ExitCode) -> dict[str, Any]:
    """The result of a command for programs."""
    return {
        "command": stage.name,
        "run": str(result.folder),
        "exit_code": int(exit_code),
        "stages": [
            {
                "stage": each.stage,
                "target": each.target,
                "reused": each.reused,
                "seconds": each.seconds,
                "folder": str(each.folder),
                # Through JSON, which turns NaN and infinity into null.
                "record": json.loads(each.record.model_dump_json()),
            }
            for each in result.stages
        ],
    }


def _next(
    stage: StageCommand, result: RunResult, options: StageOptions, exit_code: ExitCode
) -> str:
    if stage.goal == "report":
        return f"Next: open {shlex.quote(str(result.folder / 'report.html'))}"
    if exit_code != ExitCode.OK:
        arguments = options.arguments(REPORT.without)
        return f"Next: see why in the report: tmkd-deploy report {arguments}".rstrip()
    following = next(each for each in COMMANDS if each.name == stage.next)
    return f"Next: tmkd-deploy {following.name} {options.arguments(following.without)}".rstrip()
