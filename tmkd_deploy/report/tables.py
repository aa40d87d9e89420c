"""The report's tables as text cells, laid out once for every format that shows tables."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tmkd_deploy.gate.judge import shipped_accuracy
from tmkd_deploy.gate.verdict import Verdict
from tmkd_deploy.measure.results import Latency, Measurements
from tmkd_deploy.report import figures, wording
from tmkd_deploy.report.interface import StageTime

CONFUSIONS_LISTED = 10


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
    for row in figures.summary(measured):
        accuracy, latency, engine = row.accuracy, row.latency, row.engine
        rows.append(
            [
                row.name,
                wording.percent(accuracy.top1, accuracy.top1_interval)
                if accuracy
                else wording.NOT_MEASURED,
                f"{row.parameters:,}",
                wording.milliseconds(latency.p50_ms, latency.p50_interval_ms)
                if latency
                else wording.NOT_MEASURED,
                wording.size(engine.bytes) if engine else wording.NONE,
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
        step = [wording.NONE] * 4
        if row.change_points is not None and row.change_interval and row.compared_with:
            step = [
                f"{wording.points(row.change_points)} "
                f"({wording.points_interval(row.change_interval)})",
                figures.compared_label(measured, row),
                wording.NONE if row.gained is None else f"{row.gained} / {row.lost}",
                wording.step_reading(row.change_interval),
            ]
        rows.append(
            [
                row.label,
                wording.percent(row.top1),
                *step,
                wording.percent(row.macro_recall),
                wording.percent(row.agreement_with_teacher),
            ]
        )
    shipped = shipped_accuracy(measured)
    return Table(
        "Changes in points of top-1 on identical images, with paired 95 % intervals in brackets; "
        "gained and lost count the images that became right and wrong.",
        [
            "Representation",
            "Top-1",
            "Change",
            "Against",
            "Gained / lost",
            "Reading",
            "Macro recall",
            "Agrees with teacher",
        ],
        rows,
        numeric=frozenset({1, 2, 4, 6, 7}),
        marked=measured.ledger.index(shipped) if shipped else None,
    )


def latency(measured: Measurements, timed: Latency) -> Table:
    """Percentiles of every engine of one interleaved run."""
    rows = [
        [
            row.label,
            wording.milliseconds(row.p50_ms, row.p50_interval_ms),
            wording.milliseconds(row.p90_ms),
            wording.milliseconds(row.p99_ms, row.p99_interval_ms),
            wording.milliseconds(row.mean_ms),
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
                figures.latency_label(measured, each.denominator),
                figures.latency_label(measured, each.numerator),
                wording.ratio(each.ratio, each.interval),
                wording.ratio_reading(each.interval),
            ]
            for each in timed.ratios
        ],
        numeric=frozenset({2}),
    )


def engines(measured: Measurements) -> Table:
    """Every engine built for the target, with its integer layers where the builder told them."""
    rows = []
    for engine in measured.engines:
        layers = wording.NONE
        if engine.int8_layers is not None:
            layers = str(engine.int8_layers)
            if engine.total_layers is not None:
                layers += f" of {engine.total_layers}"
        choice = "chosen" if engine.precision == measured.shipped else wording.NONE
        rows.append(
            [engine.precision.upper(), engine.file, wording.size(engine.bytes), layers, choice]
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
        [names[true], names[predicted], str(count), wording.percent(count / sum(row))]
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
            wording.outcome(check.outcome),
            wording.quantity(check.limit, check.unit),
            wording.NOT_MEASURED
            if check.measured is None
            else wording.quantity(check.measured, check.unit, check.interval),
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
        [[view, wording.percent(top1)] for view, top1 in top1_of_view.items()],
        numeric=frozenset({1}),
    )


def stages(times: Sequence[StageTime]) -> Table:
    """What each stage took."""
    return Table(
        "Stages in their order.",
        ["Stage", "Time", "Reused"],
        [
            [each.stage, wording.duration(each.seconds), "yes" if each.reused else "no"]
            for each in times
        ],
        numeric=frozenset({1}),
    )


def facts(caption: str, values: dict[str, str | int | float | bool]) -> Table:
    """Free keys and their values, such as a machine or a protocol."""
    rows = [[key.replace("_", " "), _plain(value)] for key, value in values.items()]
    return Table(caption, ["Key", "Value"], rows)


def _plain(value: str | float | bool) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:.6g}" if isinstance(value, float) else str(value)
