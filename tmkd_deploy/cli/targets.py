"""`targets`: the devices that can be built for, and this machine."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from tmkd_deploy.cli import output
from tmkd_deploy.cli.groups import SuggestingGroup
from tmkd_deploy.cli.options import AsJson

app = typer.Typer(
    cls=SuggestingGroup,
    help="List and describe targets; probe this machine.",
    rich_markup_mode=None,
)


@app.command("list")
def list_targets(as_json: AsJson = False) -> None:
    """List all targets."""
    from tmkd_deploy.targets import catalog  # noqa: PLC0415

    profiles = [catalog.get(name) for name in catalog.names()]
    if as_json:
        output.emit_json(
            {
                "targets": [each.model_dump(mode="json") for each in profiles],
                "aliases": catalog.aliases(),
            }
        )
        return
    from tmkd_deploy.cli import render  # noqa: PLC0415
    from tmkd_deploy.report.tables import Table  # noqa: PLC0415

    rows = [
        [each.name, each.title, each.runtime, " ".join(each.precisions), _where_built(each.build)]
        for each in profiles
    ]
    table = Table("", ["Name", "Device", "Runtime", "Precisions", "Built"], rows)
    output.emit_styled(render.as_text([render.grid(table)]))
    for alias, name in catalog.aliases().items():
        output.emit(f"{alias} is an alias of {name}.")


@app.command()
def show(
    name: Annotated[str, typer.Argument(metavar="NAME", help="A target or an alias.")],
    as_json: AsJson = False,
) -> None:
    """Print the profile of a target, with the source of each figure."""
    from tmkd_deploy.targets import catalog  # noqa: PLC0415

    _print(catalog.get(name).model_dump(mode="json"), as_json)


@app.command()
def probe(as_json: AsJson = False) -> None:
    """Describe this machine, and what it can build and run."""
    from tmkd_deploy.targets import machine_probe as local  # noqa: PLC0415

    _print(local.probe(), as_json)


def _where_built(build: str) -> str:
    return {
        "here": "where it runs",
        "ahead_of_time": "anywhere, ahead of time",
        "on_device": "on the device",
    }[build]


def _print(record: dict[str, Any], as_json: bool) -> None:
    if as_json:
        output.emit_json(record)
        return
    import yaml  # noqa: PLC0415

    output.emit(yaml.safe_dump(record, sort_keys=False, allow_unicode=True, width=100).rstrip())
