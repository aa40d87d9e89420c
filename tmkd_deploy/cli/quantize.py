"""`quantize`: fine-tune for 8-bit arithmetic, or rank layers by what that costs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tmkd_deploy.cli import output, stages
from tmkd_deploy.cli.options import (
    DEFAULT_RECIPE,
    DEFAULT_RUNS,
    AsJson,
    Force,
    Overrides,
    Quiet,
    RecipePath,
    Runs,
    Targets,
)
from tmkd_deploy.errors import ExitCode, MissingExtra

if TYPE_CHECKING:
    from tmkd_deploy.records.quantization import SensitivityRecord

_RANKING = stages.StageCommand("quantize --sensitivity", "sensitivity", "", "")

Sensitivity = Annotated[
    bool, typer.Option("--sensitivity", help="Only rank layers by what quantizing each costs.")
]


def quantize(
    *,
    recipe: RecipePath = DEFAULT_RECIPE,
    sensitivity: Sensitivity = False,
    overrides: Overrides = None,
    targets: Targets = None,
    runs: Runs = DEFAULT_RUNS,
    force: Force = False,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Fine-tune the student for 8-bit arithmetic."""
    asked = stages.Asked(recipe, overrides, targets, None, runs, force)
    if not sensitivity:
        stages.execute(stages.QUANTIZE, asked, as_json, quiet)
    result = stages.reach(_RANKING, asked, quiet)
    gains = _gains(result.folder)
    if as_json:
        told = stages.as_dict(_RANKING, result, ExitCode.OK)
        output.emit_json({**told, "gains_ms": gains})
        return
    from tmkd_deploy.cli import render_sensitivity  # noqa: PLC0415

    record: SensitivityRecord = result.record("sensitivity")  # type: ignore[assignment]
    output.emit(render_sensitivity.as_text(record, gains, asked.arguments()))


def _gains(folder: Path) -> dict[str, dict[str, float]]:
    """What INT8 gains for each layer of targets that were measured; needs their runtime."""
    try:
        from tmkd_deploy.explain.gains import gains  # noqa: PLC0415
    except ImportError as error:
        raise MissingExtra("Timing layers", "train", error.name or "onnx") from error
    return gains(folder)
