"""Results as text for people, with the same formatting as the reports."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Sequence
from io import StringIO
from typing import TYPE_CHECKING

from rich import box
from rich.console import Console, RenderableType
from rich.table import Table as RichTable
from rich.text import Text

from tmkd_deploy.printable import printable
from tmkd_deploy.records.bundle import BundleRecord
from tmkd_deploy.records.distillation import StudentRecord
from tmkd_deploy.records.engine_names import engine_title
from tmkd_deploy.records.measurements import Measurements
from tmkd_deploy.records.quantization import MixedPrecisionRecord, QuantizationRecord
from tmkd_deploy.records.verdict import GateRecord, Outcome, worst
from tmkd_deploy.report import formatting, tables, timing_tables
from tmkd_deploy.report.cover import cover
from tmkd_deploy.report.run_report import ReportRecord
from tmkd_deploy.report.tables import Table

if TYPE_CHECKING:
    from tmkd_deploy.pipeline.planned_stage import PlannedStage
    from tmkd_deploy.pipeline.run import RunResult

COLOUR = {
    Outcome.PASSED: "green",
    Outcome.FAILED: "red",
    Outcome.INCONCLUSIVE: "yellow",
    Outcome.NOT_JUDGED: "bright_black",
}


_FIGURE_AT_MOST = 24  # characters of a figure with its interval that stay on one line


def as_text(renderables: Sequence[RenderableType]) -> str:
    """The output of rich for `renderables`, in colour only if standard output is a terminal.

    Strings and texts are made printable here, tables by `grid`.
    """
    buffer = StringIO()
    console = Console(
        file=buffer,
        force_terminal=sys.stdout.isatty(),
        width=shutil.get_terminal_size((120, 24)).columns,
        highlight=False,
    )
    for renderable in renderables:
        unbroken = isinstance(renderable, Text) and bool(renderable.no_wrap)
        console.print(_safe(renderable), markup=False, soft_wrap=unbroken)
    return buffer.getvalue().rstrip("\n")


def _safe(renderable: RenderableType) -> RenderableType:
    if isinstance(renderable, str):
        return printable(renderable, newlines=True)
    if isinstance(renderable, Text):
        shown = printable(renderable.plain, newlines=True)
        return renderable if shown == renderable.plain else Text(shown, style=renderable.style)
    return renderable


def grid(table: Table, columns: Sequence[str] | None = None) -> RichTable:
    """A table of the report, or only the named `columns` of it."""
    chosen = [
        place for place, column in enumerate(table.columns) if columns is None or column in columns
    ]
    drawn = RichTable(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False)
    for place in chosen:
        longest = max((len(row[place]) for row in table.rows), default=0)
        numeric = place in table.numeric
        drawn.add_column(
            Text(printable(table.columns[place])),
            justify="right" if numeric else "left",
            # names give way before figures, and nothing is cut
            no_wrap=numeric and longest <= _FIGURE_AT_MOST,
            overflow="fold",
        )
    for number, row in enumerate(table.rows):
        style = "bold" if number == table.marked else None
        drawn.add_row(*(Text(printable(row[place])) for place in chosen), style=style)
    return drawn


def run(result: RunResult, *, only_verdicts: bool = False) -> str:
    """The stages of a run and their results, one block per target; the verdicts come last.

    With `only_verdicts`, the tables of measurements are omitted.
    """
    # a folder is to be copied, so it stays on one line, however long
    folder = Text(f"Run folder: {result.folder}", no_wrap=True)
    blocks: list[RenderableType] = [folder, "", _stages(result)]
    blocks.extend(
        f"\n{stage.record.summary}"
        for stage in result.stages
        if isinstance(stage.record, MixedPrecisionRecord)
    )
    blocks.extend(
        f"\n{stage.record.choice}"
        for stage in result.stages
        if isinstance(stage.record, StudentRecord | QuantizationRecord)
    )
    found = {(stage.target, type(stage.record)): stage.record for stage in result.stages}
    targets = dict.fromkeys(stage.target for stage in result.stages)
    for target in () if only_verdicts else targets:
        gated, measured = found.get((target, GateRecord)), found.get((target, Measurements))
        if isinstance(gated, GateRecord):  # includes the measurements
            blocks.extend(_measured(gated.measurements, gated.would_ship))
        elif isinstance(measured, Measurements):
            blocks.extend(_measured(measured))
    gates = [each.record for each in result.stages if isinstance(each.record, GateRecord)]
    for gate in sorted(gates, key=_worst_last):
        blocks.extend(_gated(gate))
    blocks.extend(
        f"\n{stage.record.withheld}"
        for stage in result.stages
        if isinstance(stage.record, BundleRecord) and stage.record.withheld
    )
    blocks.extend(
        f"\nBundle for {stage.record.target}: {stage.folder / stage.record.file}\n"
        f"SHA-256 {stage.record.sha256}"
        for stage in result.stages
        if isinstance(stage.record, BundleRecord) and stage.record.file
    )
    return as_text([*blocks, *_overall(result, gates)])


def plan(stages: Sequence[PlannedStage]) -> str:
    """The stages that a run would go through, and how long it would take."""
    rows = []
    for each in stages:
        expected = "not known" if each.seconds is None else formatting.duration(each.seconds)
        told = expected if each.runs else "up to date"
        rows.append([each.stage, each.target or formatting.NONE, told])
    table = grid(Table("", ["Stage", "Target", "Expected time"], rows))
    to_run = [each for each in stages if each.runs]
    if not to_run:
        return as_text([table, "\nEverything is up to date."])
    known = formatting.duration(sum(each.seconds or 0 for each in to_run))
    at_least = "at least " if any(each.seconds is None for each in to_run) else ""
    return as_text(
        [
            table,
            f"\n{len(to_run)} of {len(stages)} stages would run, which takes {at_least}{known}. "
            "Training times are estimates from a few steps timed on this machine; the others are "
            "those of the last run. Nothing was run.",
        ]
    )


def _worst_last(gate: GateRecord) -> int:
    return (Outcome.NOT_JUDGED, Outcome.PASSED, Outcome.INCONCLUSIVE, Outcome.FAILED).index(
        gate.verdict.outcome
    )


def _overall(result: RunResult, gates: Sequence[GateRecord]) -> list[RenderableType]:
    """The verdict over all targets: that of the report, which knows earlier runs, if there is one.

    Empty if nothing was to be judged.
    """
    reported = [each.record for each in result.stages if isinstance(each.record, ReportRecord)]
    if reported:
        outcome, told = reported[0].outcome, reported[0].verdict
    elif gates:
        outcomes = {gate.verdict.target: gate.verdict.outcome for gate in gates}
        outcome, told = worst(outcomes.values()), formatting.overall(outcomes)
    else:
        return []
    return [Text(f"\nVerdict: {told}", style=f"bold {COLOUR[outcome]}")]


def _stages(result: RunResult) -> RichTable:
    rows = [
        [
            stage.stage,
            stage.target or formatting.NONE,
            "unchanged, reused" if stage.reused else formatting.duration(stage.seconds),
        ]
        for stage in result.stages
        if not stage.hidden
    ]
    return grid(Table("", ["Stage", "Target", "Time"], rows))


def _measured(record: Measurements, shipped: str | None = None) -> list[RenderableType]:
    blocks: list[RenderableType] = [
        Text(f"\n{record.target}: accuracy on {record.test_images} test images", style="bold"),
        grid(
            tables.ledger(record, shipped),
            ["Representation", "Top-1", "Change", "Against", "p"],
        ),
    ]
    blocks.extend(row.note for row in record.ledger if row.note)
    if shipped is None:  # a verdict says it itself
        blocks.extend(f"Warning: {each.reason}" for each in record.unusable.values())
    if record.latency is None:
        blocks.append(f"Latency was not measured: {record.not_measured}")
    else:
        blocks.append(Text(f"\n{record.target}: latency of one image", style="bold"))
        blocks.append(
            grid(tables.latency(record.latency, shipped), ["Engine", "p50", "p90", "p99"])
        )
        blocks.append("")
        blocks.append(grid(tables.ratios(record.latency)))
        if frames := timing_tables.frame(record.latency, shipped):
            blocks.append(Text(f"\n{record.target}: latency of a whole frame", style="bold"))
            blocks.append(grid(frames, ["Engine", "Frame p50", "Frame p99", "Resizing"]))
        blocks.extend(f"Warning: {warning}" for warning in record.latency.warnings)
    return blocks


def _gated(record: GateRecord) -> list[RenderableType]:
    verdict = record.verdict
    heading = Text(f"\n{verdict.target}: gate ", style="bold")
    heading.append(formatting.outcome(verdict.outcome), style=COLOUR[verdict.outcome])
    named = "Selected engine" if record.shipped else "Engine that would ship"
    blocks: list[RenderableType] = [
        heading,
        f"{named}: {engine_title(record.would_ship)}. {record.reason}",
        " ".join(cover(record)),
    ]
    blocks.extend(f"Warning: {warning}" for warning in verdict.warnings)
    if verdict.outcome is Outcome.NOT_JUDGED:
        blocks.append(f"Not judged: {verdict.not_judged}")
    if not verdict.checks:
        return blocks
    blocks.append(grid(tables.budgets(verdict), ["Budget", "Outcome", "Limit", "Measured"]))
    blocks.extend(
        check.explanation
        for outcome in (Outcome.INCONCLUSIVE, Outcome.FAILED)
        for check in verdict.checks
        if check.outcome is outcome
    )
    return blocks
