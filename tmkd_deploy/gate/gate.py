"""The gate stage: select the engine that ships and evaluate its budgets."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from tmkd_deploy.errors import DataError
from tmkd_deploy.gate import reasons
from tmkd_deploy.gate.evaluate import evaluate
from tmkd_deploy.recipe.schema import Budgets
from tmkd_deploy.records.measurements import Measurements
from tmkd_deploy.records.types import Precision
from tmkd_deploy.records.verdict import GateRecord, Outcome


class Selection(NamedTuple):
    """The engine that ships, and the reason in full sentences."""

    precision: Precision
    reason: str


def gate(budgets: Budgets, measurements: Measurements, may_ship: Sequence[Precision]) -> GateRecord:
    """Select the engine that ships, then evaluate all budgets on it.

    Args:
        budgets: the target's budgets.
        measurements: of all engines of the target, including those that may not ship.
        may_ship: the precisions that may ship, in order of preference.

    Raises:
        DataError: every engine that may ship is unusable, or none was built.
    """
    selected = select_engine(budgets, measurements, may_ship)
    return GateRecord(
        shipped=selected.precision,
        reason=selected.reason,
        verdict=evaluate(budgets, measurements, selected.precision),
        measurements=measurements,
    )


def select_engine(
    budgets: Budgets, measurements: Measurements, may_ship: Sequence[Precision]
) -> Selection:
    """The fastest engine that meets the accuracy budgets, whatever its precision.

    If no engine was timed, the first of `may_ship` is selected. If none meets the accuracy budgets,
    the most accurate one is selected, and fails. Unusable engines are left out.

    Raises:
        DataError: none is left.
    """
    built = [engine.precision for engine in measurements.engines]
    candidates = [
        precision
        for precision in may_ship
        if precision in built and precision not in measurements.unusable
    ]
    if not candidates:
        raise _none_left(measurements, may_ship)
    p50 = {each: row.p50_ms for each in built if (row := measurements.engine_latency(each))}
    timed = [precision for precision in candidates if precision in p50]
    if not timed:
        return Selection(candidates[0], reasons.unmeasured(candidates[0]))
    accuracy_budgets = Budgets(
        accuracy=budgets.accuracy,
        accuracy_drop_points=budgets.accuracy_drop_points,
        quantization_drop_points=budgets.quantization_drop_points,
    )
    accurate = [
        precision
        for precision in p50
        if evaluate(accuracy_budgets, measurements, precision).outcome is Outcome.PASSED
    ]
    eligible = [precision for precision in timed if precision in accurate]
    if not eligible:
        return Selection(
            max(timed, key=lambda each: _top1(measurements, each)), reasons.NONE_ACCURATE
        )
    fastest = min(eligible, key=lambda each: p50[each])
    return Selection(fastest, reasons.fastest(measurements, fastest, accurate, may_ship))


def _none_left(measurements: Measurements, may_ship: Sequence[Precision]) -> DataError:
    reasons = (each.reason for name, each in measurements.unusable.items() if name in may_ship)
    problem = f"No engine for {measurements.target} can ship as {' or '.join(may_ship).upper()}."
    return DataError(
        " ".join([problem, *reasons]),
        where=f"targets.{measurements.target}.precisions",
        advice="Allow another precision to ship, or repair the model.",
    )


def _top1(measurements: Measurements, precision: Precision) -> float:
    row = measurements.engine_accuracy(precision)
    return row.top1 if row else 0.0
