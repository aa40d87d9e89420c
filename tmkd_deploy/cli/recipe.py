"""`recipe`: write a first recipe, check one, and give editors its schema."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tmkd_deploy.cli import output
from tmkd_deploy.cli.groups import SuggestingGroup
from tmkd_deploy.cli.options import DEFAULT_RECIPE, AsJson, Overrides, RecipePath

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
    from tmkd_deploy.recipe import dump  # noqa: PLC0415
    from tmkd_deploy.recipe.load import load  # noqa: PLC0415

    recipe = load(path, overrides or ())
    warnings = names.check(recipe)
    if as_json:
        document = recipe.model_dump(mode="json") if resolved else None
        output.emit_json(
            {"recipe": str(path), "sound": True, "warnings": warnings, "resolved": document}
        )
        return
    for warning in warnings:
        output.complain(f"Warning: {warning}")
    if resolved:
        output.emit(dump.to_yaml(recipe).rstrip())
    else:
        output.emit(f"{path} is sound.")


@app.command()
def schema() -> None:
    """Print the recipe's JSON Schema, for editors."""
    from tmkd_deploy.recipe.schema import json_schema  # noqa: PLC0415

    output.emit_json(json_schema())
