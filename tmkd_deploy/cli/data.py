"""`data`: look at a data set before anything is trained on it."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tmkd_deploy.cli import output
from tmkd_deploy.cli.groups import SuggestingGroup
from tmkd_deploy.cli.options import AsJson, Overrides, Quiet
from tmkd_deploy.errors import ExitCode, RequestError

if TYPE_CHECKING:
    from tmkd_deploy.data.probe import Backbone
    from tmkd_deploy.recipe.schema import Data
    from tmkd_deploy.records.data_check import DataCheckRecord

app = typer.Typer(
    cls=SuggestingGroup, help="Check data before training on them.", rich_markup_mode=None
)
_DROP_POINTS = 2.0
_SUSPECTS_LISTED = 20


@app.callback()
def _group() -> None:
    """Check data before training on them."""


@app.command()
def check(
    path: Annotated[
        Path,
        typer.Argument(
            metavar="PATH",
            help="A folder with one folder per class or split, a table, Parquet files, tar shards, "
            "or a recipe.",
        ),
    ],
    overrides: Overrides = None,
    folder: Annotated[
        Path, typer.Option("--output", metavar="DIR", help="Folder of the report.")
    ] = Path("data-check"),
    drop_points: Annotated[
        float,
        typer.Option(
            "--drop-points",
            min=0.1,
            max=100.0,
            help="A loss of accuracy, in percentage points, that a test must be able to see; a "
            "recipe's budgets replace it.",
        ),
    ] = _DROP_POINTS,
    label_errors: Annotated[
        bool,
        typer.Option(
            "--label-errors",
            help="Also list training images whose label a classifier on pretrained features "
            "contradicts.",
        ),
    ] = False,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Look for what would spoil a result: leaks, wrong labels, imbalance, unusable files.

    Writes data-check.html, with pictures, and data-check.json. Exits with 5 if it finds an error; a
    suspected label is none.
    """
    from tmkd_deploy.artifacts import write_text  # noqa: PLC0415
    from tmkd_deploy.cli import progress  # noqa: PLC0415
    from tmkd_deploy.data.check import check_data  # noqa: PLC0415
    from tmkd_deploy.report import data_check  # noqa: PLC0415

    spec, budgets = _what_to_check(path, overrides or [], drop_points)
    with progress.listener(quiet) as events, tempfile.TemporaryDirectory() as scratch:
        backbone = _backbone() if label_errors else None  # missing weights end the check at once
        checked = check_data(spec, budgets, Path(scratch), events, backbone)
    page = data_check.to_html(checked.record, checked.sheet, checked.pictures)
    write_text(folder / data_check.HTML, page)
    write_text(folder / data_check.JSON, checked.record.model_dump_json(indent=1) + "\n")
    exit_code = ExitCode.DATA if checked.record.has_errors else ExitCode.OK
    if as_json:
        output.emit_json({**checked.record.model_dump(mode="json"), "exit_code": int(exit_code)})
    else:
        output.emit(_as_text(checked.record))
        output.emit(f"Next: open {folder / data_check.HTML}")
    raise typer.Exit(int(exit_code))


def _backbone() -> Backbone:
    from tmkd_deploy.data.probe import load_backbone  # noqa: PLC0415 - imports torch

    return load_backbone()


def _what_to_check(
    path: Path, overrides: list[str], drop_points: float
) -> tuple[Data, dict[str, float]]:
    """The section on data, and the budgets on a loss of accuracy by name."""
    if path.suffix in {".yaml", ".yml"}:
        from tmkd_deploy.recipe.load import load  # noqa: PLC0415

        recipe = load(path, overrides, output.warn)
        names = ("accuracy_drop_points", "quantization_drop_points")
        limits = {
            f"targets.{target.target}.budgets.{name}": limit
            for target in recipe.targets
            for name in names
            if (limit := getattr(target.budgets, name)) is not None
        }
        return recipe.data, limits
    if overrides:
        raise RequestError(
            "Only a recipe has keys to override.",
            where="--set",
            advice="Pass a recipe in place of the data: tmkd-deploy data check recipe.yaml",
        )
    from tmkd_deploy.data.sources import source_of  # noqa: PLC0415
    from tmkd_deploy.recipe.schema import Data  # noqa: PLC0415

    spec = Data.model_validate({"source": source_of(path), "path": path.absolute()})
    return spec, {f"of at most {drop_points:g} points": drop_points}


def _as_text(record: DataCheckRecord) -> str:
    from tmkd_deploy.cli import render  # noqa: PLC0415
    from tmkd_deploy.report.data_check import SIGN, counts, suspects  # noqa: PLC0415

    lines = [render.as_text([render.grid(counts(record))]), ""]
    for finding in record.findings:
        lines.append(f"{SIGN[finding.severity]} {finding.problem} {finding.advice}")
        lines += [f"    {example}" for example in finding.examples[:3]]
        if len(finding.examples) > 3:
            lines.append(f"    and {len(finding.examples) - 3} more in the report")
    if not record.findings:
        lines.append("Nothing was found that would spoil a result.")
    listed = record.label_check.suspects if record.label_check else None
    if listed:
        lines += ["", render.as_text([render.grid(suspects(listed[:_SUSPECTS_LISTED]))])]
        if len(listed) > _SUSPECTS_LISTED:
            lines.append(f"    and {len(listed) - _SUSPECTS_LISTED:,} more in the report")
    return "\n".join(lines)
