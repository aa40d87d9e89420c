"""Which engine ships: the fastest that keeps the accuracy budgets, INT8 or not."""

from __future__ import annotations

from tmkd_deploy.artifacts import Facts
from tmkd_deploy.gate.judge import judge, shipped_accuracy, shipped_latency
from tmkd_deploy.gate.verdict import Outcome, Verdict
from tmkd_deploy.measure.results import Measurements
from tmkd_deploy.recipe.schema import Budgets


class Judged(Facts):
    """A target's measurements with the engine that ships, and the verdict on it."""

    measurements: Measurements
    verdict: Verdict


def choose_and_judge(budgets: Budgets, measurements: Measurements) -> Judged:
    """Choose the engine that ships, then hold it against all budgets."""
    chosen = choose(budgets, measurements)
    return Judged(measurements=chosen, verdict=judge(budgets, chosen))


def choose(budgets: Budgets, measurements: Measurements) -> Measurements:
    """The same measurements with the engine that ships and the reason in words.

    Where nothing ran, the first engine in the target's order of preference ships unmeasured. Where
    no engine keeps the accuracy budgets, the most accurate one stands for the target, and fails.
    """
    candidates = [_shipping(measurements, engine.precision) for engine in measurements.engines]
    timed = [candidate for candidate in candidates if shipped_latency(candidate)]
    if not timed:
        return candidates[0].model_copy(
            update={
                "shipped_reason": f"The {candidates[0].shipped} engine comes first in this "
                "target's order of preference; none was measured."
            }
        )
    accuracy_only = Budgets(
        accuracy=budgets.accuracy,
        accuracy_drop_points=budgets.accuracy_drop_points,
        quantization_drop_points=budgets.quantization_drop_points,
    )
    accurate = [c for c in timed if judge(accuracy_only, c).outcome is Outcome.PASSED]
    if not accurate:
        best = max(timed, key=_top1)
        reason = "No engine keeps the accuracy budgets; this is the most accurate one."
        return best.model_copy(update={"shipped_reason": reason})
    fastest = min(accurate, key=_p50)
    return fastest.model_copy(update={"shipped_reason": _reason(fastest, timed, accurate)})


def _reason(fastest: Measurements, timed: list[Measurements], accurate: list[Measurements]) -> str:
    sentences = [
        f"The {fastest.shipped} engine is the fastest that keeps the accuracy budgets: "
        f"its median is {_p50(fastest):.3f} ms."
    ]
    for other in timed:
        if other.shipped == fastest.shipped:
            continue
        if other not in accurate:
            sentences.append(f"The {other.shipped} engine breaks the accuracy budgets.")
        else:
            ratio = _p50(other) / _p50(fastest)
            sentences.append(f"The {other.shipped} engine takes {ratio:.2f} times as long.")
    return " ".join(sentences)


def _shipping(measurements: Measurements, precision: str) -> Measurements:
    confusion = measurements.confusion_by_engine.get(precision, [])
    return measurements.model_copy(update={"shipped": precision, "confusion": confusion})


def _p50(measurements: Measurements) -> float:
    row = shipped_latency(measurements)
    return row.p50_ms if row else float("inf")


def _top1(measurements: Measurements) -> float:
    row = shipped_accuracy(measurements)
    return row.top1 if row else 0.0
