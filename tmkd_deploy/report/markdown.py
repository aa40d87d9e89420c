"""report.md: the report for pull requests and terminals."""

from __future__ import annotations

import html
import re
from collections.abc import Iterator

from tmkd_deploy.printable import printable
from tmkd_deploy.records.verdict import GateRecord
from tmkd_deploy.report import formatting, tables, timing_tables, view_weights
from tmkd_deploy.report.cover import cover
from tmkd_deploy.report.interface import RunReport, TargetReport, TeacherSummary
from tmkd_deploy.report.tables import Table


class Markdown:
    """GitHub-flavoured markdown without images."""

    file_name = "report.md"

    def render(self, report: RunReport) -> str:
        """The report as markdown."""
        return printable("\n\n".join(_blocks(report)) + "\n", newlines=True)


def escape(text: str) -> str:
    """`text` on one line, with all markdown and HTML syntax escaped."""
    one_line = " ".join(text.split())
    return re.sub(r"([\\`*\[\]<>|#~&]|(?<!\w)_|_(?!\w))", r"\\\1", one_line)


def table(content: Table) -> str:
    """`content` as a markdown table under its caption."""
    rules = ["---:" if index in content.numeric else "---" for index in range(len(content.columns))]
    rows = [list(row) for row in content.rows]
    lines = [_row(map(escape, content.columns)), _row(rules)]
    for index, row in enumerate(rows):
        cells = [escape(cell) for cell in row]
        if index == content.marked:
            cells[0] = f"**{cells[0]}**"
        lines.append(_row(cells))
    return f"{escape(content.caption)}\n\n" + "\n".join(lines)


def _row(cells: Iterator[str] | list[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _blocks(report: RunReport) -> Iterator[str]:
    yield f"# {escape(report.name)}: {formatting.outcome(report.outcome)}"
    yield f"Verdict: {escape(formatting.overall(report.outcomes))}"
    for target in report.targets:
        yield f"**{escape(target.name)}.** {escape(' '.join(cover(target.gate)))}"
    yield (
        f"{len(report.data.class_names)} classes, {report.data.train_images:,} training, "
        f"{report.data.val_images:,} validation and {report.data.test_images:,} test images. "
        f"{escape(report.data.split_note)} "
        f"{_models(report)}"
    )
    if report.choices:
        yield escape(" ".join(report.choices))
    for target in report.targets:
        yield from _target(target)
    if report.teacher:
        yield from _teachers(report, report.teacher)
    yield "## Quantization"
    yield from _quantization(report)
    yield "## Provenance"
    yield table(tables.stages(report.stages))
    for note in (*report.data.notes, *report.notes):
        yield f"- {escape(note)}"


def _models(report: RunReport) -> str:
    student = escape(report.student.model)
    if report.teacher is None:
        return f"Given model {student}."
    return f"Teacher {escape(report.teacher.model)}, student {student}."


def _teachers(report: RunReport, teacher: TeacherSummary) -> Iterator[str]:
    yield "## Teachers"
    if teacher.top1_of_view:
        yield table(tables.teacher_views(teacher.top1_of_view))
    if teacher.text_zero_shot_top1 is not None:
        yield (
            f"Zero-shot top-1 of the text teacher {escape(teacher.text_model)}: "
            f"{formatting.percent(teacher.text_zero_shot_top1)}."
        )
    if report.fusion and report.fusion.sentences:
        yield view_weights.DECIDED
        for sentence in report.fusion.sentences:
            yield f"- {escape(sentence)}"
    if report.view_weights:
        yield view_weights.guidance(report.view_weights)
        yield table(view_weights.by_class(report.view_weights))


def _target(target: TargetReport) -> Iterator[str]:
    gate = target.gate
    measured, verdict = gate.measurements, gate.verdict
    yield f"## {escape(measured.target)}: {formatting.outcome(target.outcome)}"
    for note in target.notes:
        yield f"- {escape(note)}"
    yield f"{escape(formatting.ships(target))} {escape(gate.reason)}"
    for warning in verdict.warnings:
        yield f"- Warning: {escape(warning)}"
    yield table(tables.summary(gate))
    yield "### Where accuracy was lost"
    for row in measured.ledger:
        if row.note:
            yield f"- {escape(row.note)}"
    yield table(tables.ledger(measured, gate.would_ship))
    yield table(tables.agreement(measured, gate.would_ship))
    for row in measured.ledger:
        if row.flips:
            # GitHub treats this line as HTML, where backslashes do not escape
            heading = html.escape(tables.flips_heading(measured, row))
            yield f"<details><summary>{heading}</summary>"
            yield table(tables.flips(row))
            yield "</details>"
    yield "### Latency"
    yield from _latency(gate)
    yield table(tables.engines(measured, gate.would_ship))
    if any(map(any, gate.confusion)):
        yield "### Most frequent mistakes"
        yield table(tables.confusions(gate))
    yield "### Budgets"
    if verdict.checks:
        yield table(tables.budgets(verdict))
    else:
        yield "The recipe sets no budgets for this target."
    if target.bundle_file:
        size = f" ({formatting.size(target.bundle_bytes)})" if target.bundle_bytes else ""
        yield f"Bundle: {escape(target.bundle_file)}{size}"


def _latency(gate: GateRecord) -> Iterator[str]:
    timed = gate.measurements.latency
    if timed is None:
        reason = gate.measurements.not_measured or ""
        yield f"Latency was not measured. {escape(reason)}".rstrip()
        return
    yield table(tables.latency(timed, gate.would_ship))
    if timed.ratios:
        yield table(tables.ratios(timed))
    for more in (timing_tables.frame, timing_tables.speed):
        if found := more(timed, gate.would_ship):
            yield table(found)
    if timed.conditions:
        yield table(timing_tables.conditions(timed.conditions))
    for warning in timed.warnings:
        yield f"- {escape(warning)}"


def _quantization(report: RunReport) -> Iterator[str]:
    quantized = report.quantization
    if quantized is None:
        yield "Quantization is disabled in the recipe."
        return
    yield (
        f"{quantized.quantizers} quantizers in {quantized.quantized_layers} layers; "
        f"calibration: {escape(quantized.calibration)}."
    )
    excluded_layers = ", ".join(map(escape, quantized.excluded_layers)) or "none"
    yield f"Layers kept in floating point: {excluded_layers}."
