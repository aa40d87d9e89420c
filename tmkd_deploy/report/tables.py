"""The report's tables as text cells, shared by all formats that show tables."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from tmkd_deploy.proportions import p_value_text
from tmkd_deploy.records.engine_names import engine_title
from tmkd_deploy.records.latency import Latency
from tmkd_deploy.records.measurements import LedgerRow, Measurements
from tmkd_deploy.records.verdict import GateRecord, Verdict
from tmkd_deploy.report import formatting, metrics
from tmkd_deploy.report.interface import StageTime

CONFUSIONS_LISTED = 10
CLASSES_LISTED = 15


@dataclass(frozen=True)
class Table:
    """Cells as plain, unescaped text; the first column names the row.

    `numeric` holds the indices of right-aligned columns, `marked` that of the shipped row.
    """

    caption: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    numeric: frozenset[int] = frozenset()
    marked: int | None = None


def summary(gate: GateRecord) -> Table:
    """Teacher, baseline student, distilled student and shipped engine."""
    rows = []
    for row in metrics.summary(gate):
        accuracy, latency, engine = row.accuracy, row.latency, row.engine
        rows.append(
            [
                row.name,
                formatting.percent(accuracy.top1, accuracy.top1_interval)
                if accuracy
                else formatting.NOT_MEASURED,
                f"{row.parameters:,}",
                formatting.milliseconds(latency.p50_ms, latency.p50_interval_ms)
                if latency
                else formatting.NOT_MEASURED,
                formatting.size(engine.bytes) if engine else formatting.NONE,
            ]
        )
    return Table(
        f"Top-1 on {gate.measurements.test_images} test images, with 95 % intervals in "
        f"parentheses.{_decided(gate.measurements)}",
        ["Model", "Top-1", "Parameters", "Median latency", "Size"],
        rows,
        numeric=frozenset({1, 2, 3, 4}),
        marked=len(rows) - 1,
    )


def ledger(measured: Measurements, shipped: str | None = None) -> Table:
    """Each representation of the model and what the step to it gained or lost."""
    rows = []
    for row in measured.ledger:
        step = [formatting.NONE] * 5
        if row.change_points is not None and row.change_interval and row.compared_with:
            step = [
                f"{formatting.points(row.change_points)} "
                f"({formatting.points_interval(row.change_interval)})",
                metrics.compared_label(measured, row),
                formatting.NONE if row.gained is None else f"{row.gained} / {row.lost}",
                formatting.NONE if row.p_value is None else p_value_text(row.p_value),
                formatting.step_conclusion(row.change_points, row.significant),
            ]
        rows.append([row.label, formatting.percent(row.top1, row.top1_interval), *step])
    return Table(
        f"Top-1 on {measured.test_images} test images and its change in percentage points, with "
        "95 % intervals in parentheses (paired for changes). Gained and lost count the images that "
        "became correct and incorrect; p is two-sided, from the exact McNemar test."
        f"{_decided(measured)}",
        ["Representation", "Top-1", "Change", "Against", "Gained / lost", "p", "Conclusion"],
        rows,
        numeric=frozenset({1, 2, 4, 5}),
        marked=_shipped_row(measured, shipped),
    )


def _decided(measured: Measurements) -> str:
    if measured.guarded_class is None:
        return ""
    return (
        f' Each model has its own threshold for "{measured.guarded_class}", chosen on validation '
        f"images for a recall of {measured.guarded_recall:g}."
    )


def agreement(measured: Measurements, shipped: str | None = None) -> Table:
    """Recall, agreement and calibration of each representation."""
    rows = [
        [
            row.label,
            formatting.percent(row.macro_recall),
            formatting.percent(row.agreement_with_teacher),
            _or_none(row.agreement_with_compared, formatting.percent),
            _or_none(row.expected_calibration_error, formatting.percent),
            _or_none(row.calibration_error_change, lambda change: formatting.points(100 * change)),
        ]
        for row in measured.ledger
    ]
    return Table(
        "Macro recall, agreement of predictions, and the expected calibration error (ECE, 15 "
        "equal-width confidence bins) with its change in percentage points against the compared "
        "row.",
        [
            "Representation",
            "Macro recall",
            f"Agreement with {'given model' if measured.model_is_given else 'teacher'}",
            "Agreement with compared row",
            "ECE",
            "ECE change",
        ],
        rows,
        numeric=frozenset({1, 2, 3, 4, 5}),
        marked=_shipped_row(measured, shipped),
    )


def flips_heading(measured: Measurements, row: LedgerRow) -> str:
    """One line that introduces the table of a step's changed predictions."""
    changed = sum(each.gained + each.lost + each.still_wrong for each in row.flips)
    return (
        f"{row.label} against {metrics.compared_label(measured, row)}: "
        f"{changed} of {measured.test_images} predictions changed"
    )


def flips(row: LedgerRow) -> Table:
    """The classes whose predictions changed in the step to `row`, the largest loss first."""
    shown = row.flips[:CLASSES_LISTED]
    rest = len(row.flips) - len(shown)
    more = f" {rest} more classes with smaller losses are in summary.json." if rest else ""
    return Table(
        "Test images whose predicted class changed, by true class: gained became correct, lost "
        f"became incorrect, still wrong moved to another wrong class.{more}",
        ["True class", "Gained", "Lost", "Still wrong", "Lost to", "Gained from"],
        [
            [
                each.class_name,
                str(each.gained),
                str(each.lost),
                str(each.still_wrong),
                _counts(each.lost_to),
                _counts(each.gained_from),
            ]
            for each in shown
        ],
        numeric=frozenset({1, 2, 3}),
    )


def latency(timed: Latency, shipped: str | None = None) -> Table:
    """Latency percentiles of all engines of one interleaved measurement."""
    rows = [
        [
            row.label,
            formatting.milliseconds(row.p50_ms, row.p50_interval_ms),
            formatting.milliseconds(row.p90_ms),
            formatting.milliseconds(row.p99_ms, row.p99_interval_ms),
            formatting.milliseconds(row.mean_ms),
            f"{row.runs:,}",
        ]
        for row in timed.rows
    ]
    names = [row.engine for row in timed.rows]
    return Table(
        "Latency of one image, from host input ready to host output ready, with 95 % intervals in "
        "parentheses. All engines were timed interleaved.",
        ["Engine", "p50", "p90", "p99", "Mean", "Runs"],
        rows,
        numeric=frozenset({1, 2, 3, 4, 5}),
        marked=_place(shipped, names),
    )


def ratios(timed: Latency) -> Table:
    """The speed-up of each engine over each slower reference, paired within rounds."""
    return Table(
        "Speed-up: the reference's median latency divided by the engine's, paired within rounds, "
        "with 95 % intervals in parentheses.",
        ["Engine", "Reference", "Speed-up", "Conclusion"],
        [
            [
                metrics.latency_label(timed, each.denominator),
                metrics.latency_label(timed, each.numerator),
                formatting.ratio(each.ratio, each.interval),
                formatting.ratio_conclusion(each.interval),
            ]
            for each in timed.ratios
        ],
        numeric=frozenset({2}),
    )


def engines(measured: Measurements, shipped: str | None = None) -> Table:
    """Every engine built for the target, with its INT8 layers if the builder lists them."""
    rows = []
    for engine in measured.engines:
        layers = formatting.NONE
        if engine.int8_layers is not None:
            layers = str(engine.int8_layers)
            if engine.total_layers is not None:
                layers += f" of {engine.total_layers}"
        choice = "selected" if engine.name == shipped else formatting.NONE
        if engine.name in measured.unusable:
            choice = "unusable"
        rows.append(
            [engine_title(engine.name), engine.file, formatting.size(engine.bytes), layers, choice]
        )
    names = [engine.name for engine in measured.engines]
    return Table(
        f"Engines built for {measured.target} with {' and '.join(measured.runtimes)}.",
        ["Engine", "File", "Size", "INT8 layers", "Selection"],
        rows,
        numeric=frozenset({2, 3}),
        marked=_place(shipped, names),
    )


def confusions(gate: GateRecord) -> Table:
    """The most frequent mistakes of the shipped engine."""
    names, confusion = gate.measurements.class_names, gate.confusion
    mistakes = sorted(
        (
            (count, true, predicted)
            for true, row in enumerate(confusion)
            for predicted, count in enumerate(row)
            if true != predicted and count > 0
        ),
        key=lambda mistake: (-mistake[0], mistake[1:]),
    )
    rows = [
        [names[true], names[predicted], str(count), formatting.percent(count / sum(row))]
        for count, true, predicted in mistakes[:CONFUSIONS_LISTED]
        for row in [confusion[true]]
    ]
    return Table(
        "The most frequent mistakes, with their share of the true class's images.",
        ["True class", "Predicted", "Images", "Share"],
        rows,
        numeric=frozenset({2, 3}),
    )


def budgets(verdict: Verdict) -> Table:
    """Each budget with its limit, the measured value and an explanation of the outcome."""
    rows = [
        [
            check.budget,
            formatting.outcome(check.outcome),
            formatting.quantity(check.limit, check.unit),
            formatting.NOT_MEASURED
            if check.measured is None
            else formatting.quantity(check.measured, check.unit, check.interval),
            check.explanation,
        ]
        for check in verdict.checks
    ]
    return Table(
        f"Budgets of {verdict.target}, with 95 % intervals in parentheses.",
        ["Budget", "Outcome", "Limit", "Measured", "Explanation"],
        rows,
        numeric=frozenset({2, 3}),
    )


def teacher_views(top1_of_view: dict[str, float]) -> Table:
    """Top-1 of the visual teacher by view."""
    return Table(
        "Top-1 of the visual teacher on each single view of the validation images.",
        ["View", "Top-1"],
        [[view, formatting.percent(top1)] for view, top1 in top1_of_view.items()],
        numeric=frozenset({1}),
    )


def stages(times: Sequence[StageTime]) -> Table:
    """The duration of each stage."""
    return Table(
        "Stages in execution order.",
        ["Stage", "Time", "Reused"],
        [
            [each.stage, formatting.duration(each.seconds), "yes" if each.reused else "no"]
            for each in times
        ],
        numeric=frozenset({1}),
    )


def properties(caption: str, values: dict[str, str | int | float | bool]) -> Table:
    """Keys and values, such as those of a machine or a protocol."""
    rows = [[key.replace("_", " "), _cell(value)] for key, value in values.items()]
    return Table(caption, ["Key", "Value"], rows)


def _shipped_row(measured: Measurements, shipped: str | None) -> int | None:
    row = measured.engine_accuracy(shipped) if shipped else None
    return measured.ledger.index(row) if row else None


def _place(shipped: str | None, names: Sequence[str]) -> int | None:
    return names.index(shipped) if shipped in names else None


def _or_none(value: float | None, text: Callable[[float], str]) -> str:
    return formatting.NONE if value is None else text(value)


def _counts(classes: dict[str, int]) -> str:
    return ", ".join(f"{name} {count}" for name, count in classes.items()) or formatting.NONE


def _cell(value: str | float | bool) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:.6g}" if isinstance(value, float) else str(value)
