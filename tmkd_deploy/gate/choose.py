"""Which engine ships: the fastest that keeps the accuracy budgets, INT8 or not."""

from __future__ import annotations

from collections.abc import Sequence

from tmkd_deploy.artifacts import Record
from tmkd_deploy.gate import reasons
from tmkd_deploy.gate.judge import judge, shipped_accuracy, shipped_latency
from tmkd_deploy.recipe.schema import Budgets
from tmkd_deploy.records.measurements import Measurements
from tmkd_deploy.records.verdict import Outcome, Verdict


class Judged(Record):
    """A target's measurements with the engine that ships, and the verdict on it."""

    measurements: Measurements
    verdict: Verdict


def choose_and_judge(
    budgets: Budgets, measurements: Measurements, may_ship: Sequence[str]
) -> Judged:
    """Choose the engine that ships, then hold it against all budgets."""
    chosen = choose(budgets, measurements, may_ship)
    return Judged(measurements=chosen, verdict=judge(budgets, chosen))


def choose(budgets: Budgets, measurements: Measurements, may_ship: Sequence[str]) -> Measurements:
    """The same measurements with the engine that ships and the reason in words.

    `may_ship` names precisions in the order of preference; their siblings were measured to compare
    with. Where nothing ran, the first of them ships unmeasured. Where none keeps the accuracy
    budgets, the most accurate one stands for the target, and fails.
    """
    built = [engine.precision for engine in measurements.engines]
    candidates = [_shipping(measurements, each) for each in may_ship if each in built]
    timed = [candidate for candidate in candidates if shipped_latency(candidate)]
    if not timed:
        return candidates[0].model_copy(
            update={"shipped_reason": reasons.unmeasured(candidates[0].shipped)}
        )
    accuracy_only = Budgets(
        accuracy=budgets.accuracy,
        accuracy_drop_points=budgets.accuracy_drop_points,
        quantization_drop_points=budgets.quantization_drop_points,
    )
    everything = [_shipping(measurements, precision) for precision in built]
    accurate = [
        each.shipped
        for each in everything
        if shipped_latency(each) and judge(accuracy_only, each).outcome is Outcome.PASSED
    ]
    keeping = [candidate for candidate in timed if candidate.shipped in accurate]
    if not keeping:
        best = max(timed, key=_top1)
        return best.model_copy(update={"shipped_reason": reasons.NONE_ACCURATE})
    fastest = min(keeping, key=_p50)
    reason = reasons.fastest(fastest, accurate, may_ship)
    return fastest.model_copy(update={"shipped_reason": reason})


def _shipping(measurements: Measurements, precision: str) -> Measurements:
    confusion = measurements.confusion_by_engine.get(precision, [])
    return measurements.model_copy(update={"shipped": precision, "confusion": confusion})


def _p50(measurements: Measurements) -> float:
    row = shipped_latency(measurements)
    return row.p50_ms if row else float("inf")


def _top1(measurements: Measurements) -> float:
    row = shipped_accuracy(measurements)
    return row.top1 if row else 0.0
