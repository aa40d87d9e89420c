"""`quantize`: fine-tune for INT8, or rank layers by the cost of quantizing them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from tmkd_deploy.cli import output, stages
from tmkd_deploy.cli.onnx_model import with_recipe
from tmkd_deploy.cli.options import StageOptions
from tmkd_deploy.errors import ExitCode, MissingExtra

if TYPE_CHECKING:
    from tmkd_deploy.records.quantization import SensitivityRecord

_SENSITIVITY = stages.StageCommand(
    "quantize --sensitivity", goal="sensitivity", next="quantize", help=""
)


def quantize(options: StageOptions) -> None:
    """Run `quantize`, or only its sensitivity analysis."""
    if options.sensitivity:
        _rank_layers(options)
    else:
        stages.execute(stages.QUANTIZE, options)


def _rank_layers(options: StageOptions) -> None:
    options = with_recipe(options)
    result = stages.run_pipeline(_SENSITIVITY, options)
    gains = _gains(result.folder)
    if options.as_json:
        content = stages.to_json(_SENSITIVITY, result, ExitCode.OK)
        output.emit_json({**content, "gains_ms": gains})
        return
    from tmkd_deploy.cli import render_sensitivity  # noqa: PLC0415

    record: SensitivityRecord = result.record("sensitivity")  # type: ignore[assignment]
    output.emit_styled(render_sensitivity.as_text(record, gains, options.arguments()))


def _gains(folder: Path) -> dict[str, dict[str, float]]:
    """The time that INT8 gains in each layer of the measured targets; needs their runtime."""
    try:
        from tmkd_deploy.explain.gains import gains  # noqa: PLC0415
    except ImportError as error:
        raise MissingExtra("Timing layers", "train", error.name or "onnx") from error
    return gains(folder)
