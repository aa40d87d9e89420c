"""The gate stage: select the engine that ships and evaluate its budgets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from tmkd_deploy.errors import DataError
from tmkd_deploy.gate import reasons
from tmkd_deploy.gate.evaluate import evaluate
from tmkd_deploy.gate.reasons import Standing
from tmkd_deploy.recipe.deployment import Preference
from tmkd_deploy.recipe.schema import Budgets
from tmkd_deploy.records.class_names import refuse_unknown_class
from tmkd_deploy.records.engine_names import engine_title
from tmkd_deploy.records.measurements import Measurements
from tmkd_deploy.records.verdict import GateRecord, Outcome, worst


class Selection(NamedTuple):
    """The name of the engine that ships, and the reason in full sentences."""

    engine: str
    reason: str


def gate(
    budgets: Budgets,
    measurements: Measurements,
    may_ship: Sequence[str],
    prefer: Preference = "latency",
) -> GateRecord:
    """Select the engine that ships, then evaluate all budgets on it.

    Args:
        budgets: the target's budgets.
        measurements: of all engines of the target, including those that may not ship.
        may_ship: names of the engines that may ship, in order of preference.
        prefer: what decides among engines whose verdicts are equally good.

    Raises:
        RequestError: a budget names a class that there is not.
        DataError: every engine that may ship is unusable, or none was built.
    """
    refuse_unknown_classes(budgets, measurements.class_names, measurements.target)
    selected = select_engine(budgets, measurements, may_ship, prefer)
    verdict = evaluate(budgets, measurements, selected.engine)
    return GateRecord(
        would_ship=selected.engine,
        shipped=None if verdict.outcome is Outcome.FAILED else selected.engine,
        reason=selected.reason,
        verdict=verdict,
        measurements=measurements,
        threshold=measurements.threshold(selected.engine),
        guarded_class=measurements.guarded_class,
    )


def refuse_unknown_classes(budgets: Budgets, class_names: Sequence[str], target: str) -> None:
    """Refuse budgets of classes that the data do not have.

    Raises:
        RequestError: there is such a budget.
    """
    for key, limits in (("recall", budgets.recall), ("precision", budgets.precision)):
        for name in limits:
            refuse_unknown_class(name, class_names, f"targets.{target}.budgets.{key}")


def select_engine(
    budgets: Budgets,
    measurements: Measurements,
    may_ship: Sequence[str],
    prefer: Preference = "latency",
) -> Selection:
    """The fastest or smallest of the engines with the best verdict, of any precision and runtime.

    Of engines whose verdicts are equal, those that keep the accuracy budgets come first. If no
    engine was timed, the first of `may_ship` is selected. If all break the accuracy budgets, the
    most accurate one is selected, and fails. Unusable engines are left out.

    Raises:
        DataError: none is left.
    """
    built = [engine.name for engine in measurements.engines]
    candidates = [
        engine for engine in may_ship if engine in built and engine not in measurements.unusable
    ]
    if not candidates:
        raise _none_left(measurements, may_ship)
    p50 = {each: row.p50_ms for each in built if (row := measurements.engine_latency(each))}
    timed = [engine for engine in candidates if engine in p50]
    if not timed:
        return Selection(candidates[0], reasons.unmeasured(candidates[0]))
    standing = {each: _standing(budgets, measurements, each) for each in p50}
    if all(standing[each].accuracy is Outcome.FAILED for each in timed):
        return Selection(
            max(timed, key=lambda each: _top1(measurements, each)), reasons.NONE_ACCURATE
        )
    sizes = {engine.name: engine.bytes for engine in measurements.engines}
    figure: Mapping[str, float] = p50 if prefer == "latency" else sizes
    # of equals, `min` takes the first
    selected = min(timed, key=lambda each: (*standing[each].rank, figure[each]))
    return Selection(selected, reasons.best(measurements, selected, standing, may_ship, prefer))


def _standing(budgets: Budgets, measurements: Measurements, engine: str) -> Standing:
    verdict = evaluate(budgets, measurements, engine)
    accuracy = worst(
        check.outcome for check in verdict.checks if check.budget in budgets.of_accuracy.limits
    )
    return Standing(verdict, accuracy)


def _none_left(measurements: Measurements, may_ship: Sequence[str]) -> DataError:
    reasons = (each.reason for name, each in measurements.unusable.items() if name in may_ship)
    titles = " or ".join(map(engine_title, may_ship))
    problem = f"No engine for {measurements.target} can ship as {titles}."
    return DataError(
        " ".join([problem, *reasons]),
        where=f"targets.{measurements.target}.precisions",
        advice="Allow another precision to ship, or repair the model.",
    )


def _top1(measurements: Measurements, engine: str) -> float:
    row = measurements.engine_accuracy(engine)
    return row.top1 if row else 0.0
