"""The ledger step that lost the most accuracy, by class, and the calibration errors."""

from __future__ import annotations

from collections.abc import Sequence

from tmkd_deploy.explain.interface import Finding, Kind
from tmkd_deploy.records.measurements import ClassFlips, EngineFile, LedgerRow
from tmkd_deploy.report import formatting

RANK_LAYERS = "tmkd-deploy quantize --sensitivity"
_CLASSES_NAMED = 5
_ADVICE = {
    "student": "This loss is not due to quantization. Distil longer, choose a larger student, or "
    "check which terms of the distillation loss help.",
    "fake_quantized": f"Rank the layers with `{RANK_LAYERS}` and add the costliest to "
    "quantize.exclude_layers, or let quantize.mixed_precision_trials search for them; raise "
    "quantize.epochs, or choose another quantize.calibration.method.",
    "onnx": "The export changed predictions: try another export.opset, and report the model if "
    "that does not help.",
    "engine": "The runtime deviates from the ONNX standard: check the findings above for "
    "saturation and for activations of the wrong sign, and try another version of the runtime.",
}
_NO_LOSS = "No step down to the engine lost top-1 on these images."


def largest_drop(rows: Sequence[LedgerRow], engine: EngineFile) -> tuple[list[Finding], list[str]]:
    """The step from the first model to an engine that lost the most top-1, and notes."""
    path = [row for row in rows if _is_on_path(row, engine)]
    notes = _calibration(path)
    steps = [row for row in path if row.change_points is not None]
    worst = min(steps, key=lambda row: row.change_points or 0.0, default=None)
    if worst is None or (worst.change_points or 0.0) >= 0:
        return [], [_NO_LOSS, *notes]
    # a step may be compared with a row off the path, such as the fine-tuned control
    others = (row for row in (*path, *rows) if row.representation == worst.compared_with)
    above = next(others, None)
    finding = Finding(
        Kind.LARGEST_DROP,
        _problem(worst, above),
        _ADVICE[worst.representation],
        certain=worst.significant,
    )
    return [finding], notes


def _is_on_path(row: LedgerRow, engine: EngineFile) -> bool:
    if row.representation in ("teacher", "student"):
        return True
    if row.engine:
        return row.engine == engine.name
    return row.representation in _ADVICE and row.precision == engine.precision


def _problem(row: LedgerRow, above: LedgerRow | None) -> str:
    origin = (
        f"{above.label} ({formatting.percent(above.top1)})" if above else str(row.compared_with)
    )
    interval = (
        f" ({formatting.points_interval(row.change_interval)})" if row.change_interval else ""
    )
    sentences = [
        f"The largest accuracy drop is from {origin} to {row.label} "
        f"({formatting.percent(row.top1)}): "
        f"{formatting.points(row.change_points or 0.0)} points{interval}, "
        f"{row.lost} images lost, {row.gained} gained."
    ]
    if not row.significant:
        sentences.append("With this many images, this may be due to chance.")
    sentences += _by_class(row.flips)
    if above is not None:
        before, after = above.expected_calibration_error, row.expected_calibration_error
        if before is not None and after is not None:
            sentences.append(
                f"The expected calibration error changes from {formatting.percent(before)} to "
                f"{formatting.percent(after)}."
            )
    return " ".join(sentences)


def _by_class(flips: Sequence[ClassFlips]) -> list[str]:
    losing = sorted((each for each in flips if each.lost), key=lambda each: each.gained - each.lost)
    parts = []
    for each in losing[:_CLASSES_NAMED]:
        taken = next(iter(each.lost_to), None)
        mistaken = f", most often to {taken}" if taken else ""
        parts.append(f"{each.class_name} lost {each.lost} and gained {each.gained}{mistaken}")
    if not parts:
        return []
    more = len(losing) - len(parts)
    return [f"By class: {'; '.join(parts)}{f'; and {more} more classes' if more else ''}."]


def _calibration(path: Sequence[LedgerRow]) -> list[str]:
    known = [row for row in path if row.expected_calibration_error is not None]
    if len(known) < 2:
        return []
    parts = [
        f"{row.label} {formatting.percent(row.expected_calibration_error or 0)}" for row in known
    ]
    return [f"Expected calibration error: {', '.join(parts)}."]
