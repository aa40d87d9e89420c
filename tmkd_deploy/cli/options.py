"""Options shared by several commands, and the signature of commands that run stages."""

from __future__ import annotations

import dataclasses
import inspect
import shlex
from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, get_type_hints

import typer

DEFAULT_RECIPE = Path("recipe.yaml")
DEFAULT_RUNS = Path("runs")
DEFAULT_PROOFS = Path("proofs")

RecipePath = Annotated[Path, typer.Argument(metavar="RECIPE", help="The recipe.")]
RecipeOrModel = Annotated[
    Path, typer.Argument(metavar="RECIPE", help="The recipe; or an ONNX file, with --data.")
]
ImagesOfModel = Annotated[
    Path | None,
    typer.Option("--data", metavar="DIR", help="The images, where RECIPE is an ONNX file."),
]
Overrides = Annotated[
    list[str] | None,
    typer.Option(
        "--set", metavar="KEY=VALUE", help="Override a key, such as distill.epochs=3; repeatable."
    ),
]
Runs = Annotated[Path, typer.Option("--runs", metavar="DIR", help="Folder of all runs.")]


def _target_names() -> list[str]:
    from tmkd_deploy.targets import catalog  # noqa: PLC0415 - only shell completion asks

    return catalog.names()


Targets = Annotated[
    list[str] | None,
    typer.Option(
        "--target",
        metavar="NAME",
        autocompletion=_target_names,
        help="Only this target, whether in the recipe or not; repeatable.  [default: the recipe's]",
    ),
]
Device = Annotated[
    str | None,
    typer.Option(
        "--device",
        metavar="ADDRESS",
        help="Address of the target: ssh://[user@]host[:port][?python=PATH], or local.",
    ),
]
Force = Annotated[
    bool, typer.Option("--force", help="Repeat this command's own stage, even if up to date.")
]
Only = Annotated[
    bool,
    typer.Option("--only", help="Use the run folder as it is, even if stale; run no other stage."),
]
Sensitivity = Annotated[
    bool, typer.Option("--sensitivity", help="Only rank layers by the cost of quantizing each.")
]
DryRun = Annotated[
    bool, typer.Option("--dry-run", help="Only list the stages to run and how long they will take.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object to standard output.")]
Quiet = Annotated[bool, typer.Option("--quiet", help="Show no progress.")]


@dataclass(frozen=True)
class StageOptions:
    """The options of commands that run stages: one field each, in the order of the help."""

    recipe: RecipeOrModel = DEFAULT_RECIPE
    data: ImagesOfModel = None
    sensitivity: Sensitivity = False
    overrides: Overrides = None
    targets: Targets = None
    device: Device = None
    runs: Runs = DEFAULT_RUNS
    force: Force = False
    only: Only = False
    dry_run: DryRun = False
    as_json: AsJson = False
    quiet: Quiet = False

    def arguments(self, without: Collection[str] = ()) -> str:
        """What another command needs to go on with this run, quoted for a shell.

        `without` names options that the other command does not have.
        """
        words = [] if self.recipe == DEFAULT_RECIPE else [str(self.recipe)]
        for target in self.targets or ():
            words += ["--target", target]
        if self.device and "device" not in without:
            words += ["--device", self.device]
        for override in self.overrides or ():
            words += ["--set", override]
        if self.runs != DEFAULT_RUNS:
            words += ["--runs", str(self.runs)]
        if self.only and "only" not in without:
            words += ["--only"]
        return shlex.join(words)


def stage_command(
    run: Callable[[StageOptions], None], *, without: Collection[str]
) -> Callable[..., None]:
    """`run` as a function for Typer whose parameters are `StageOptions` less those `without`."""

    def command(**given: object) -> None:
        run(StageOptions(**given))  # type: ignore[arg-type]

    hints = get_type_hints(StageOptions, include_extras=True)
    parameters = [
        inspect.Parameter(
            field.name,
            inspect.Parameter.KEYWORD_ONLY,
            default=field.default,
            annotation=hints[field.name],
        )
        for field in dataclasses.fields(StageOptions)
        if field.name not in without
    ]
    command.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    command.__annotations__ = {each.name: each.annotation for each in parameters}
    return command
