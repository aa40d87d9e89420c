"""The entry point: it assembles the commands and reports every error in a few lines.

Only Typer is imported at startup; each command imports what takes time to import.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Sequence
from typing import Annotated, Any

import typer

from tmkd_deploy import __version__
from tmkd_deploy.cli import (
    bundle,
    compare,
    data,
    doctor,
    explain,
    failures,
    interrupts,
    output,
    quantize,
    recipe,
    stages,
    targets,
)
from tmkd_deploy.cli.groups import SuggestingGroup
from tmkd_deploy.cli.options import stage_command
from tmkd_deploy.errors import ExitCode, PeerProcessFailed

PROGRAM = "tmkd-deploy"
_COMPLETION = "_TMKD_DEPLOY_COMPLETE"  # set by a shell that asks what may follow


class InOrder(SuggestingGroup):
    """Lists the commands in the order of the workflow."""

    def list_commands(self, ctx: Any) -> list[str]:
        """The stages, then the other commands."""
        stage_names = "run distill quantize export validate gate bundle report"
        return [*stage_names.split(), "compare", "explain", "data", "recipe", "targets", "doctor"]


app = typer.Typer(
    cls=InOrder,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Exit codes: 0 success, 1 a gate failed, 2 the request is wrong, 3 a gate is "
    "inconclusive, 4 the environment is wrong, 5 the data are wrong, 130 interrupted.",
)


def _print_version(wanted: bool) -> None:
    if wanted:
        output.emit(f"{PROGRAM} {__version__}")
        raise typer.Exit()


@app.callback()
def _root(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Print the version."
        ),
    ] = False,
) -> None:
    """Distil, quantize, export, build, measure, gate and bundle vision models for edge devices.

    Each stage command takes a recipe (./recipe.yaml by default), runs the stages that are not up
    to date, and writes to runs/<name of the recipe>. An ONNX file can take a recipe's place.
    """


stages.add_to(app)
app.command("quantize", help=stages.QUANTIZE.help)(
    stage_command(quantize.quantize, without=stages.QUANTIZE.without)
)
app.add_typer(bundle.app, name="bundle")
app.command("compare")(compare.compare)
app.command("explain")(explain.explain)
app.add_typer(data.app, name="data")
app.add_typer(recipe.app, name="recipe")
app.add_typer(targets.app, name="targets")
app.command("doctor")(doctor.doctor)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line on `arguments`, by default those of the process.

    Returns the exit code, one of `ExitCode`; no exception escapes.
    """
    given = list(sys.argv[1:] if arguments is None else arguments)
    interrupts.install()
    try:
        code = _invoke(given)
    except BrokenPipeError:
        code = int(ExitCode.INTERRUPTED)
    except SystemExit as done:  # of shell completion
        code = int(done.code or 0)
    except BaseException as error:
        code = _report(error, as_json="--json" in given)
    if arguments is None:
        interrupts.ignore()
    output.flush()
    return code


def _invoke(arguments: list[str]) -> int:
    command = typer.main.get_command(app)
    if _COMPLETION in os.environ:
        command.main(arguments, PROGRAM)  # exits
    try:
        with command.make_context(PROGRAM, arguments) as context:
            command.invoke(context)
    except typer.Exit as done:
        return done.exit_code
    return int(ExitCode.OK)


def _report(error: BaseException, as_json: bool) -> int:
    if isinstance(error, PeerProcessFailed):
        return int(error.exit_code)
    failure = failures.explain(error)
    if failure.unexpected and os.environ.get("TMKD_DEBUG"):
        import traceback  # noqa: PLC0415

        traceback.print_exception(error)
    if as_json:
        with contextlib.suppress(OSError):  # standard output itself may be what failed
            output.emit_json({"error": failure.to_json(), "exit_code": int(failure.exit_code)})
    else:
        output.error(failure.as_text())
    return int(failure.exit_code)
