"""The commands that run the pipeline up to a goal."""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from tmkd_deploy.cli import output
from tmkd_deploy.cli.options import (
    DEFAULT_RECIPE,
    DEFAULT_RUNS,
    AsJson,
    Device,
    Force,
    Only,
    Overrides,
    Quiet,
    RecipePath,
    Runs,
    Targets,
)
from tmkd_deploy.errors import ExitCode

if TYPE_CHECKING:
    from tmkd_deploy.pipeline.run import RunResult


@dataclass(frozen=True)
class StageCommand:
    """A command, the pipeline's goal behind it, and the command that comes after it.

    `judging` says that the exit code is the gate's.
    """

    name: str
    goal: str
    next: str
    help: str
    judging: bool = False


DISTILL = StageCommand(
    "distill", "distill", "quantize", "Prepare the data, teach the teachers, distil the student."
)
QUANTIZE = StageCommand(
    "quantize", "quantize", "export", "Fine-tune the student for 8-bit arithmetic."
)
EXPORT = StageCommand(
    "export", "build", "validate", "Export to ONNX and build an engine for each target."
)
VALIDATE = StageCommand(
    "validate", "measure", "gate", "Measure accuracy and latency of the engines that were built."
)
GATE = StageCommand(
    "gate", "gate", "bundle", "Hold the measurements against the recipe's budgets.", judging=True
)
BUNDLE = StageCommand("bundle", "bundle", "report", "Pack the engine of each target into one file.")
REPORT = StageCommand("report", "report", "", "Write report.html and summary.json.")
RUN = StageCommand("run", "report", "", "Do everything, from the data to the report.", judging=True)


def add_to(app: typer.Typer) -> None:
    """Add the commands to `app`; `quantize` and `bundle` have files of their own."""
    for stage in (RUN, DISTILL, EXPORT, VALIDATE):
        app.command(stage.name, help=stage.help)(_command(stage))
    for stage in (GATE, REPORT):
        app.command(stage.name, help=stage.help)(judging_command(stage))


def _command(stage: StageCommand) -> Callable[..., None]:
    def command(
        *,
        recipe: RecipePath = DEFAULT_RECIPE,
        overrides: Overrides = None,
        targets: Targets = None,
        device: Device = None,
        runs: Runs = DEFAULT_RUNS,
        force: Force = False,
        as_json: AsJson = False,
        quiet: Quiet = False,
    ) -> None:
        execute(stage, Asked(recipe, overrides, targets, device, runs, force), as_json, quiet)

    return command


def judging_command(stage: StageCommand) -> Callable[..., None]:
    """A command that may also work on the run folder as it is."""

    def command(
        *,
        recipe: RecipePath = DEFAULT_RECIPE,
        overrides: Overrides = None,
        targets: Targets = None,
        device: Device = None,
        runs: Runs = DEFAULT_RUNS,
        force: Force = False,
        only: Only = False,
        as_json: AsJson = False,
        quiet: Quiet = False,
    ) -> None:
        execute(stage, Asked(recipe, overrides, targets, device, runs, force, only), as_json, quiet)

    return command


@dataclass(frozen=True)
class Asked:
    """What a command's options ask of the pipeline."""

    path: Path
    overrides: Sequence[str] | None
    targets: Sequence[str] | None
    device: str | None
    runs: Path
    force: bool
    only: bool = False

    def arguments(self) -> str:
        """Those that the command to run next needs again."""
        words = [] if self.path == DEFAULT_RECIPE else [str(self.path)]
        for target in self.targets or ():
            words += ["--target", target]
        if self.device:
            words += ["--device", self.device]
        for override in self.overrides or ():
            words += ["--set", override]
        return shlex.join(words)


def execute(stage: StageCommand, asked: Asked, as_json: bool, quiet: bool) -> None:
    """Reach the goal of `stage` and tell what came of it."""
    result = reach(stage, asked, quiet)
    exit_code = result.exit_code if stage.judging else ExitCode.OK
    if as_json:
        output.emit_json(as_dict(stage, result, exit_code))
    else:
        from tmkd_deploy.cli import render  # noqa: PLC0415

        output.emit(render.run(result))
        output.emit(_next(stage, result, asked.arguments(), exit_code))
    raise typer.Exit(int(exit_code))


def reach(stage: StageCommand, asked: Asked, quiet: bool) -> RunResult:
    """Reach the goal of `stage`; a process that does not lead ends here."""
    from tmkd_deploy.cli import progress  # noqa: PLC0415
    from tmkd_deploy.recipe.load import load  # noqa: PLC0415

    recipe = load(asked.path, asked.overrides or (), output.warn)
    with progress.listener(quiet) as events:
        from tmkd_deploy.pipeline import run as pipeline_run  # noqa: PLC0415

        result = pipeline_run.run(
            recipe,
            runs=asked.runs,
            goal=stage.goal,
            targets=asked.targets or None,
            device=asked.device,
            events=events,
            force=asked.force,
            only=asked.only,
        )
    if not result.is_main_process:
        raise typer.Exit()
    return result


def as_dict(stage: StageCommand, result: RunResult, exit_code: ExitCode) -> dict[str, Any]:
    """What a command tells a program."""
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
                # By way of JSON, because there a figure that is not a number becomes null.
                "record": json.loads(each.record.model_dump_json()),
            }
            for each in result.stages
        ],
    }


def _next(stage: StageCommand, result: RunResult, arguments: str, exit_code: ExitCode) -> str:
    if stage.goal == "report":
        return f"Next: open {result.folder / 'report.html'}"
    if exit_code != ExitCode.OK:
        return f"Next: read why in the report: tmkd-deploy report {arguments}".rstrip()
    return f"Next: tmkd-deploy {stage.next} {arguments}".rstrip()
