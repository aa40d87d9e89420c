"""`recipe`: write a first recipe, check one, and give editors its schema."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tmkd_deploy.cli import output
from tmkd_deploy.cli.groups import SuggestingGroup
from tmkd_deploy.cli.options import DEFAULT_RECIPE, AsJson, Overrides, RecipePath
from tmkd_deploy.errors import ExitCode

if TYPE_CHECKING:
    from tmkd_deploy.recipe.upgrade import Upgrade

app = typer.Typer(
    cls=SuggestingGroup,
    help="Write, check and describe recipes.",
    rich_markup_mode=None,
)


@app.command()
def init(
    path: Annotated[Path, typer.Argument(metavar="PATH", help="The file to write.")] = (
        DEFAULT_RECIPE
    ),
    source: Annotated[
        str, typer.Option("--source", help="folder, parquet, webdataset or elpv.")
    ] = "folder",
    target: Annotated[str, typer.Option("--target", help="A name of `targets list`.")] = "cpu",
) -> None:
    """Write a short commented recipe.

    A file that exists is never overwritten.
    """
    from tmkd_deploy.recipe import starter  # noqa: PLC0415

    starter.write(path, source, target)
    output.emit(f"{path} is written. Set data and budgets in it.")
    output.emit(f"Next: tmkd-deploy recipe check {path}")


@app.command()
def check(
    path: RecipePath = DEFAULT_RECIPE,
    overrides: Overrides = None,
    resolved: Annotated[
        bool, typer.Option("--resolved", help="Print the recipe with every default.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Check a recipe and the names in it.

    Models, targets and files that it names are looked up.
    """
    from tmkd_deploy.recipe import check as names  # noqa: PLC0415
    from tmkd_deploy.recipe.load import load  # noqa: PLC0415

    warnings: list[str] = []
    recipe = load(path, overrides or (), warnings.append)
    warnings += names.check(recipe)
    if as_json:
        document = recipe.model_dump(mode="json") if resolved else None
        output.emit_json(
            {"recipe": str(path), "sound": True, "warnings": warnings, "resolved": document}
        )
        return
    for warning in warnings:
        output.warn(warning)
    if resolved:
        output.emit(recipe.to_yaml().rstrip())
    else:
        output.emit(f"{path} is sound.")


@app.command()
def upgrade(
    path: Annotated[Path, typer.Argument(metavar="FILE", help="The recipe.")] = DEFAULT_RECIPE,
    check: Annotated[
        bool, typer.Option("--check", help="Write nothing; exit with 1 if there are old keys.")
    ] = False,
    to_stdout: Annotated[
        bool, typer.Option("--stdout", help="Print the new recipe instead of writing it.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Replace the old keys of a recipe.

    Everything else in the file, comments included, stays as it is.
    """
    from tmkd_deploy.recipe import upgrade as upgrading  # noqa: PLC0415

    upgraded = upgrading.upgrade(path)
    written = bool(upgraded.changes) and not check and not to_stdout
    if written:
        upgrading.write(path, upgraded.text)
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
        output.emit(upgraded.text, end="")
    else:
        output.emit("\n".join(_told(path, upgraded, check)))
    if check and upgraded.changes:
        raise typer.Exit(int(ExitCode.GATE_FAILED))


def _told(path: Path, upgraded: Upgrade, check: bool) -> Iterator[str]:
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
