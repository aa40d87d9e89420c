"""`recipe`: write a first recipe, check and upgrade one, and print the schema."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tmkd_deploy.cli import output
from tmkd_deploy.cli.groups import SuggestingGroup
from tmkd_deploy.cli.options import DEFAULT_RECIPE, AsJson, Overrides, RecipePath
from tmkd_deploy.errors import ExitCode, RequestError
from tmkd_deploy.models.onnx_name import is_onnx_file

if TYPE_CHECKING:
    from tmkd_deploy.recipe.upgrade import Upgrade

app = typer.Typer(
    cls=SuggestingGroup,
    help="Write, check and upgrade recipes.",
    rich_markup_mode=None,
)


@app.command()
def init(
    path: Annotated[Path, typer.Argument(metavar="PATH", help="The file to write.")] = (
        DEFAULT_RECIPE
    ),
    source: Annotated[
        str, typer.Option("--source", help="folder, parquet, webdataset or elpv; without --data.")
    ] = "folder",
    data: Annotated[
        Path | None,
        typer.Option("--data", metavar="DIR", help="Look at these images and suit the recipe."),
    ] = None,
    name: Annotated[
        str, typer.Option("--name", metavar="NAME", help="Names the run folder.")
    ] = "my-model",
    targets: Annotated[
        list[str] | None,
        typer.Option("--target", help="A target name; see `targets list`.  [default: cpu]"),
    ] = None,
    student: Annotated[
        str | None,
        typer.Option("--student", metavar="NAME", help="The model that you have trained."),
    ] = None,
    weights: Annotated[
        str | None, typer.Option("--weights", metavar="FILE", help="Its weights; with --student.")
    ] = None,
) -> None:
    """Write a short, commented recipe.

    With --data, it suits the images: their size, split, models and epochs, each with its reason.
    With --student and --weights as well, that model is quantized as it is, without a teacher.
    Existing files are never overwritten.
    """
    target, *others = targets or ["cpu"]
    if others:
        raise RequestError(
            "A recipe begins with one target.",
            where="--target",
            advice=f"Give one, and add {', '.join(others)} to the recipe's targets.",
        )
    if student is not None and is_onnx_file(student):
        raise RequestError(
            "An ONNX file needs no recipe.",
            where="--student",
            advice=f"Run: tmkd-deploy quantize {shlex.quote(student)} --data FOLDER",
        )
    if (student is None) != (weights is None) or (student is not None and data is None):
        raise RequestError(
            "A trained model needs its name, its weights and images.",
            where="--student",
            advice="Give --student, --weights and --data together.",
        )
    if data is not None and student is not None and weights is not None:
        from tmkd_deploy.pipeline import given_recipe  # noqa: PLC0415

        given_recipe.write(path, data, name, target, student, weights)
        output.emit(f"Wrote {path}. Check its image size, mean and std, and edit its budgets.")
    elif data is None:
        from tmkd_deploy.recipe import starter  # noqa: PLC0415

        starter.write(path, source, target, name)
        output.emit(f"Wrote {path}. Edit its data and budgets.")
    else:
        from tmkd_deploy.pipeline import proposed_recipe  # noqa: PLC0415

        proposed_recipe.write(path, data, name, target)
        output.emit(f"Wrote {path}. It says why each value was chosen; edit its budgets.")
    output.emit(f"Next: tmkd-deploy recipe check {shlex.quote(str(path))}")


@app.command()
def check(
    path: RecipePath = DEFAULT_RECIPE,
    overrides: Overrides = None,
    resolved: Annotated[
        bool, typer.Option("--resolved", help="Print the recipe with every default.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Check that a recipe can run: its data, models, weights, layers and targets.

    Nothing is trained or downloaded, and no image is opened.
    """
    from tmkd_deploy.pipeline.recipe_check import check_recipe  # noqa: PLC0415
    from tmkd_deploy.recipe.load import load  # noqa: PLC0415

    warnings: list[str] = []
    recipe = load(path, overrides or (), warnings.append)
    found = check_recipe(recipe)
    warnings += found.warnings
    if as_json:
        document = recipe.model_dump(mode="json") if resolved else None
        output.emit_json(
            {
                "recipe": str(path),
                "valid": True,
                "checked": found.checked,
                "warnings": warnings,
                "resolved": document,
            }
        )
        return
    for warning in warnings:
        output.warn(warning)
    if resolved:
        output.emit(recipe.to_yaml().rstrip())
    else:
        output.emit("\n".join(f"Checked {each}." for each in found.checked))
        output.emit(f"{path} is valid.")
        words = [str(path)] if path != DEFAULT_RECIPE else []
        words += [word for each in overrides or () for word in ("--set", each)]
        output.emit(f"Next: tmkd-deploy run --dry-run {shlex.join(words)}".rstrip())


@app.command()
def upgrade(
    path: Annotated[Path, typer.Argument(metavar="FILE", help="The recipe.")] = DEFAULT_RECIPE,
    check: Annotated[
        bool, typer.Option("--check", help="Change nothing; exit with 1 if there are old keys.")
    ] = False,
    to_stdout: Annotated[
        bool, typer.Option("--stdout", help="Print the new recipe instead of writing it.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Rename the old keys of a recipe.

    Everything else in the file, comments included, stays as it is.
    """
    from tmkd_deploy.recipe import upgrade as recipe_upgrade  # noqa: PLC0415

    upgraded = recipe_upgrade.upgrade(path)
    written = bool(upgraded.changes) and not check and not to_stdout
    if written:
        recipe_upgrade.write(path, upgraded.text)
    if as_json:
        output.emit_json(
            {
                "recipe": str(path),
                "written": written,
                "changes": [each.to_json() for each in upgraded.changes],
                "text": upgraded.text if to_stdout else None,
            }
        )
    elif to_stdout:
        output.emit_file(upgraded.text)
    else:
        output.emit("\n".join(_summary(path, upgraded, check)))
    if check and upgraded.changes:
        raise typer.Exit(int(ExitCode.GATE_FAILED))


def _summary(path: Path, upgraded: Upgrade, check: bool) -> Iterator[str]:
    if not upgraded.changes:
        yield f"{path} has no old keys."
        return
    for each in upgraded.changes:
        yield f"{path}:{each.line}: {each.rename.sentence()}"
    if check:
        yield f"Next: tmkd-deploy recipe upgrade {shlex.quote(str(path))}"
    else:
        yield f"Next: tmkd-deploy recipe check {shlex.quote(str(path))}"


@app.command()
def schema() -> None:
    """Print the recipe's JSON Schema, for editors."""
    from tmkd_deploy.recipe.schema import json_schema  # noqa: PLC0415

    output.emit_json(json_schema())
