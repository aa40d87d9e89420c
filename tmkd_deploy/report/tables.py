"""The report's tables as text cells, laid out once for every format that shows tables."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from tmkd_deploy.gate.judge import shipped_accuracy
from tmkd_deploy.measure.statistics import p_value_text
from tmkd_deploy.records.measurements import Latency, LedgerRow, Measurements
from tmkd_deploy.records.verdict import Verdict
from tmkd_deploy.report import formatting, metrics
from tmkd_deploy.report.interface import StageTime

CONFUSIONS_LISTED = 10
CLASSES_LISTED = 15


@dataclass(frozen=True)
class Table:
    """Cells as plain text, not escaped; the first column names the row.

    `numeric` holds the indices of the columns set flush right, `marked` the row that ships.
    """

    caption: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    numeric: frozenset[int] = frozenset()
    marked: int | None = None


def summary(measured: Measurements) -> Table:
    """Teacher against student alone, distilled student and shipped engine."""
    rows = []
    for row in metrics.summary(measured):
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
        f"Top-1 on {measured.test_images} test images, with 95 % intervals in brackets.",
        ["Model", "Top-1", "Parameters", "Median latency", "Size"],
        rows,
        numeric=frozenset({1, 2, 3, 4}),
        marked=len(rows) - 1,
    )


def ledger(measured: Measurements) -> Table:
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
                formatting.step_reading(row.change_points, row.significant),
            ]
        rows.append([row.label, formatting.percent(row.top1, row.top1_interval), *step])
    return Table(
        f"Top-1 on {measured.test_images} test images and its changes in points on identical "
        "images, with 95 % intervals in brackets, those of changes paired; gained and lost count "
        "the images that became right and wrong; p is the exact McNemar test's, two-sided.",
        ["Representation", "Top-1", "Change", "Against", "Gained / lost", "p", "Reading"],
        rows,
        numeric=frozenset({1, 2, 4, 5}),
        marked=_shipped_row(measured),
    )


def agreement(measured: Measurements) -> Table:
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
        "Macro recall, equal decisions, and the expected calibration error (ECE: 15 bins of equal "
        "width by the probability of the decision) with its change in points against the row that "
        "each is compared with.",
        [
            "Representation",
            "Macro recall",
            "Agrees with teacher",
            "Agrees with row compared",
            "ECE",
            "Change of ECE",
        ],
        rows,
        numeric=frozenset({1, 2, 3, 4, 5}),
        marked=_shipped_row(measured),
    )


def flips_heading(measured: Measurements, row: LedgerRow) -> str:
    """What the table of a step's flips is about, in one line."""
    changed = sum(each.gained + each.lost + each.still_wrong for each in row.flips)
    return (
        f"{row.label} against {metrics.compared_label(measured, row)}: "
        f"{changed} of {measured.test_images} decisions changed"
    )


def flips(row: LedgerRow) -> Table:
    """The classes in which the step to `row` changed decisions, those that lost most first."""
    shown = row.flips[:CLASSES_LISTED]
    rest = len(row.flips) - len(shown)
    more = f"; {rest} more with smaller losses are in summary.json" if rest else ""
    return Table(
        "Test images by true class whose decision changed: became right, became wrong, went from "
        f"one wrong class to another{more}.",
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


def latency(measured: Measurements, timed: Latency) -> Table:
    """Percentiles of every engine of one interleaved run."""
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
        "Latency of one image, host input ready to host output ready; all engines timed "
        "alternately in one run, 95 % intervals in brackets.",
        ["Engine", "p50", "p90", "p99", "Mean", "Runs"],
        rows,
        numeric=frozenset({1, 2, 3, 4, 5}),
        marked=names.index(measured.shipped) if measured.shipped in names else None,
    )


def ratios(measured: Measurements, timed: Latency) -> Table:
    """How many times as fast one engine is as another, paired within rounds."""
    return Table(
        "The other's median latency over the engine's, paired within rounds, with 95 % intervals "
        "in brackets; above 1 the engine is faster.",
        ["Engine", "The other", "Times as fast", "Reading"],
        [
            [
                metrics.latency_label(measured, each.denominator),
                metrics.latency_label(measured, each.numerator),
                formatting.ratio(each.ratio, each.interval),
                formatting.ratio_reading(each.interval),
            ]
            for each in timed.ratios
        ],
        numeric=frozenset({2}),
    )


def engines(measured: Measurements) -> Table:
    """Every engine built for the target, with its integer layers where the builder told them."""
    rows = []
    for engine in measured.engines:
        layers = formatting.NONE
        if engine.int8_layers is not None:
            layers = str(engine.int8_layers)
            if engine.total_layers is not None:
                layers += f" of {engine.total_layers}"
        choice = "chosen" if engine.precision == measured.shipped else formatting.NONE
        rows.append(
            [engine.precision.upper(), engine.file, formatting.size(engine.bytes), layers, choice]
        )
    names = [engine.precision for engine in measured.engines]
    return Table(
        f"Engines built for {measured.target} with {measured.runtime}.",
        ["Precision", "File", "Size", "INT8 layers", "Choice"],
        rows,
        numeric=frozenset({2, 3}),
        marked=names.index(measured.shipped) if measured.shipped in names else None,
    )


def confusions(measured: Measurements) -> Table:
    """The most frequent mistakes of the shipped engine."""
    names = measured.class_names
    mistakes = sorted(
        (
            (count, true, predicted)
            for true, row in enumerate(measured.confusion)
            for predicted, count in enumerate(row)
            if true != predicted and count > 0
        ),
        key=lambda mistake: (-mistake[0], mistake[1:]),
    )
    rows = [
        [names[true], names[predicted], str(count), formatting.percent(count / sum(row))]
        for count, true, predicted in mistakes[:CONFUSIONS_LISTED]
        for row in [measured.confusion[true]]
    ]
    return Table(
        "The most frequent mistakes, with their share of the true class.",
        ["True class", "Taken for", "Images", "Share"],
        rows,
        numeric=frozenset({2, 3}),
    )


def budgets(verdict: Verdict) -> Table:
    """Each budget, the figure held against it, and why the check came out as it did."""
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
        f"Budgets of {verdict.target}, with 95 % intervals of timed figures in brackets.",
        ["Budget", "Outcome", "Limit", "Measured", "Explanation"],
        rows,
        numeric=frozenset({2, 3}),
    )


def teacher_views(top1_of_view: dict[str, float]) -> Table:
    """What the visual teacher knows from each view alone."""
    return Table(
        "Top-1 of the visual teacher on each view alone.",
        ["View", "Top-1"],
        [[view, formatting.percent(top1)] for view, top1 in top1_of_view.items()],
        numeric=frozenset({1}),
    )


def stages(times: Sequence[StageTime]) -> Table:
    """What each stage took."""
    return Table(
        "Stages in their order.",
        ["Stage", "Time", "Reused"],
        [
            [each.stage, formatting.duration(each.seconds), "yes" if each.reused else "no"]
            for each in times
        ],
        numeric=frozenset({1}),
    )


def properties(caption: str, values: dict[str, str | int | float | bool]) -> Table:
    """Free keys and their values, such as a machine or a protocol."""
    rows = [[key.replace("_", " "), _plain(value)] for key, value in values.items()]
    return Table(caption, ["Key", "Value"], rows)


def _shipped_row(measured: Measurements) -> int | None:
    shipped = shipped_accuracy(measured)
    return measured.ledger.index(shipped) if shipped else None


def _or_none(value: float | None, words: Callable[[float], str]) -> str:
    return formatting.NONE if value is None else words(value)


def _counts(classes: dict[str, int]) -> str:
    return ", ".join(f"{name} {count}" for name, count in classes.items()) or formatting.NONE


def _plain(value: str | float | bool) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:.6g}" if isinstance(value, float) else str(value)
