"""A sensitivity analysis as text for people."""

from __future__ import annotations

from collections.abc import Mapping

from rich.console import RenderableType
from rich.text import Text

from tmkd_deploy.cli import render
from tmkd_deploy.records.quantization import Cost, SensitivityRecord
from tmkd_deploy.report import formatting
from tmkd_deploy.report.tables import Table

_COUNTS_SHOWN = 8
_COST = ("Divergence", "From teacher", "Top-1", "Decisions changed")


def as_text(
    record: SensitivityRecord, gains: Mapping[str, Mapping[str, float]], recipe: str
) -> str:
    """Every layer, the costliest first; the cost without the first layers; what to run next.

    `gains` are milliseconds by target and layer; `recipe` is the recipe's path as an argument.
    """
    heading = f"Cost of quantizing one layer at a time, on {record.images} training images"
    blocks: list[RenderableType] = [
        Text(heading, style="bold"),
        render.grid(_layers(record, gains)),
        "",
        "Divergence: of the probabilities from the unquantized student's, in thousandths of a nat. "
        "From teacher: increase of the divergence from the teacher's. Gives back: the divergence "
        "that disappears if everything but this layer is quantized.",
        *_remarks(record, gains),
        Text("\nCost of quantizing the rest when the first layers are excluded", style="bold"),
        render.grid(_counts(record)),
        f"\n{_next(record, recipe)}",
    ]
    return render.as_text(blocks)


def _layers(record: SensitivityRecord, gains: Mapping[str, Mapping[str, float]]) -> Table:
    everything = record.by_count[0]
    columns = ["Layer", *_COST, "Gives back", *(f"Gains on {target}" for target in gains)]
    rows = [
        [
            each.layer,
            *_cost(each.alone),
            _thousandths(everything.divergence - each.without.divergence),
            *(_milliseconds(of_target.get(each.layer)) for of_target in gains.values()),
        ]
        for each in record.layers
    ]
    return Table("", columns, rows, numeric=frozenset(range(1, len(columns))))


def _counts(record: SensitivityRecord) -> Table:
    names = ["nothing", *(f"and {each.layer}" for each in record.layers)]
    rows = [
        [name.removeprefix("and ") if count == 1 else name, *_cost(cost)]
        for count, (name, cost) in enumerate(zip(names, record.by_count, strict=True))
    ]
    columns = ["Excluded", *_COST]
    return Table("", columns, rows[:_COUNTS_SHOWN], numeric=frozenset(range(1, len(columns))))


def _cost(cost: Cost) -> list[str]:
    return [
        _thousandths(cost.divergence),
        _thousandths(cost.teacher_divergence),
        formatting.points(cost.points),
        formatting.percent(cost.changed),
    ]


def _remarks(record: SensitivityRecord, gains: Mapping[str, Mapping[str, float]]) -> list[str]:
    remarks = [
        "This is after calibration only; fine-tuning recovers part of it. The student was trained "
        "on these images, so the test split may lose more."
    ]
    if record.calibrated_on:
        remarks.append(f"{record.calibrated_on} of the images were also used for calibration.")
    if record.excluded_layers:
        remarks.append(f"Already excluded by the recipe: {', '.join(record.excluded_layers)}.")
    if not gains:
        remarks.append("The time that each layer gains is unknown: no engines were measured here.")
    return remarks


def _next(record: SensitivityRecord, recipe: str) -> str:
    if not record.layers:
        return f"Next: tmkd-deploy quantize {recipe}".rstrip()
    named = ", ".join([*record.excluded_layers, record.layers[0].layer])
    return (
        "Next: let the budgets of the first target decide how many layers to exclude: "
        f"tmkd-deploy run {recipe}".rstrip()
        + " --set quantize.mixed_precision_trials=4, or exclude the first one yourself: "
        + f"--set 'quantize.exclude_layers=[{named}]'"
    )


def _thousandths(nats: float) -> str:
    value = 1000 * nats
    text = f"{value:.3f}" if abs(value) < 1 else f"{value:.1f}"
    return ("0.000" if text == "-0.000" else text).replace("-", "−")


def _milliseconds(value: float | None) -> str:
    return formatting.NONE if value is None else f"{value:+.3f} ms".replace("-", "−")
