"""Look up the measurements that the report compares.

Engines are identified by their names in the engine files, the ledger's engine rows and the latency
rows; the teacher's latency row is 'teacher'. The FP32 engine of the target's own runtime is the
unquantized student.
"""

from __future__ import annotations

from dataclasses import dataclass

from tmkd_deploy.records.latency import Latency, LatencyRow
from tmkd_deploy.records.measurements import EngineFile, LedgerRow, Measurements, Representation
from tmkd_deploy.records.verdict import GateRecord
from tmkd_deploy.report import formatting

TEACHER = "teacher"
STUDENT_ENGINE = "fp32"


_STUDENTS: tuple[Representation, ...] = ("student_baseline", "student_distilled", "student")


@dataclass(frozen=True)
class SummaryRow:
    """One row of the summary; None marks what was not measured."""

    name: str
    accuracy: LedgerRow | None
    parameters: int
    latency: LatencyRow | None
    engine: EngineFile | None


def summary(gate: GateRecord) -> list[SummaryRow]:
    """Teacher, the student that does not ship, the one that does and, last, the selected engine.

    The first student is omitted if there is only one. Both have the same architecture, so the FP32
    engine's latency and size apply to both, and to a given model, which has the teacher's row.
    """
    measured = gate.measurements
    student_latency = measured.engine_latency(STUDENT_ENGINE)
    student_engine = measured.engine_file(STUDENT_ENGINE)
    rows = [measured.ledger_row(name) for name in _STUDENTS]
    students = [(row.label, row) for row in rows if row]
    given = measured.model_is_given
    return [
        SummaryRow(
            "Given model" if given else "Teacher",
            measured.ledger_row("teacher"),
            measured.teacher_parameters,
            student_latency if given else measured.engine_latency(TEACHER),
            student_engine if given else None,
        ),
        *(
            SummaryRow(name, row, measured.student_parameters, student_latency, student_engine)
            for name, row in students
        ),
        SummaryRow(
            formatting.selected(gate),
            gate.accuracy,
            measured.student_parameters,
            gate.latency,
            gate.engine,
        ),
    ]


def latency_label(timed: Latency, engine: str) -> str:
    """The label of a timed engine; its name if it has no row."""
    return next((row.label for row in timed.rows if row.engine == engine), engine)


def compared_label(measured: Measurements, row: LedgerRow) -> str:
    """The label of the row that `row` is compared with, preferably of the same precision."""
    others = [each for each in measured.ledger if each.representation == row.compared_with]
    others.sort(key=lambda each: each.precision != row.precision)
    return others[0].label if others else str(row.compared_with)
