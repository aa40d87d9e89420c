"""Which row of the measurements answers which question of the report.

Engines are named by their precision (fp32, fp16, int8) in `Measurements.shipped`, in the engine
files, in the ledger's engine rows and in the latency rows; the teacher's latency row is 'teacher'.
The FP32 engine is the unquantized student.
"""

from __future__ import annotations

from dataclasses import dataclass

from tmkd_deploy.gate.judge import shipped_accuracy, shipped_latency
from tmkd_deploy.records.measurements import EngineFile, LatencyRow, LedgerRow, Measurements

TEACHER = "teacher"
STUDENT_ENGINE = "fp32"


@dataclass(frozen=True)
class SummaryRow:
    """One line of the comparison that the run is about; None is what was not measured."""

    name: str
    accuracy: LedgerRow | None
    parameters: int
    latency: LatencyRow | None
    engine: EngineFile | None


def summary(measured: Measurements) -> list[SummaryRow]:
    """Teacher, student alone, distilled student and shipped engine; the last row ships.

    The student alone is left out where it was not trained. It has the distilled student's
    architecture, so latency and size of the FP32 engine hold for both.
    """
    student_latency = latency_row(measured, STUDENT_ENGINE)
    student_engine = engine_file(measured, STUDENT_ENGINE)
    alone = ledger_row(measured, "student_baseline")
    students = [("Distilled student", ledger_row(measured, "student"))]
    if alone:
        students.insert(0, ("Student trained alone", alone))
    return [
        SummaryRow(
            "Teacher",
            ledger_row(measured, "teacher"),
            measured.teacher_parameters,
            latency_row(measured, TEACHER),
            None,
        ),
        *(
            SummaryRow(name, row, measured.student_parameters, student_latency, student_engine)
            for name, row in students
        ),
        SummaryRow(
            f"Shipped engine, {measured.shipped.upper()}",
            shipped_accuracy(measured),
            measured.student_parameters,
            shipped_latency(measured),
            engine_file(measured, measured.shipped),
        ),
    ]


def ledger_row(measured: Measurements, representation: str) -> LedgerRow | None:
    """The first ledger row of this representation."""
    rows = (row for row in measured.ledger if row.representation == representation)
    return next(rows, None)


def latency_row(measured: Measurements, engine: str) -> LatencyRow | None:
    """The latency row of this engine."""
    rows = measured.latency.rows if measured.latency else []
    return next((row for row in rows if row.engine == engine), None)


def engine_file(measured: Measurements, precision: str) -> EngineFile | None:
    """The engine built in this precision."""
    return next((each for each in measured.engines if each.precision == precision), None)


def latency_label(measured: Measurements, engine: str) -> str:
    """How a reader knows the timed engine: its row's label."""
    row = latency_row(measured, engine)
    return row.label if row else engine


def compared_label(measured: Measurements, row: LedgerRow) -> str:
    """How a reader knows what `row` is compared with; of several, the one in its own precision."""
    others = [each for each in measured.ledger if each.representation == row.compared_with]
    others.sort(key=lambda each: each.precision != row.precision)
    return others[0].label if others else str(row.compared_with)
