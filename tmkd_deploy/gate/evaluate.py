"""Evaluate budgets against measurements.

Metrics that are exact for this file and this test set (accuracy, size) pass or fail by their value.
Latency metrics pass only if the whole 95 % interval is within the budget, fail only if the whole
interval is outside it, and are inconclusive if the limit lies inside the interval.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from tmkd_deploy.gate.warnings import warnings
from tmkd_deploy.recipe.schema import Budgets
from tmkd_deploy.records.figures import Interval
from tmkd_deploy.records.measurements import Measurements, Representation
from tmkd_deploy.records.types import Precision
from tmkd_deploy.records.verdict import Check, Outcome, Verdict, worst


@dataclass(frozen=True)
class _Metric:
    """A measured value; `interval` is None if it is exact, `basis` names what it is exact for."""

    measured: float
    interval: Interval | None = None
    basis: str = ""


@dataclass(frozen=True)
class _Rule:
    """What one budget limits. `measure` returns None if the metric was not measured."""

    subject: str
    unit: str
    at_least: bool
    measure: Callable[[Measurements, Precision], _Metric | None]


def evaluate(budgets: Budgets, measurements: Measurements, precision: Precision) -> Verdict:
    """Check the engine of one precision against every budget that is set.

    The verdict's outcome is the worst of its checks. A metric that was not measured is
    inconclusive; a target without budgets passes.

    Raises:
        ValueError: the engine is unusable, so there is nothing to judge.
    """
    if precision in measurements.unusable:
        raise ValueError(f"no verdict on an unusable engine: {measurements.unusable[precision]}")
    checks = [
        _check(budget, limit, measurements, precision)
        for budget in _RULES
        if (limit := getattr(budgets, budget)) is not None
    ]
    return Verdict(
        target=measurements.target,
        outcome=worst(check.outcome for check in checks),
        checks=checks,
        warnings=warnings(measurements, precision),
    )


def _check(budget: str, limit: float, measurements: Measurements, precision: Precision) -> Check:
    rule = _RULES[budget]
    metric = rule.measure(measurements, precision)
    demand = "requires at least" if rule.at_least else "allows"
    allowed = f"the budget {demand} {_amount(f'{limit:.12g}', rule.unit)}"
    if metric is None:
        reason = measurements.not_measured or "The measurements do not include it."
        outcome = Outcome.INCONCLUSIVE
        explanation = f"{rule.subject} was not measured; {allowed}. {reason}"
    else:
        outcome = _outcome(metric, limit, at_least=rule.at_least)
        explanation = f"{_stated(rule, metric, limit)}; {allowed}."
        if outcome is Outcome.INCONCLUSIVE:
            explanation += " The limit lies inside the interval, so this run cannot decide."
    return Check(
        budget=budget,
        limit=limit,
        measured=metric.measured if metric else None,
        interval=metric.interval if metric else None,
        unit=rule.unit,
        outcome=outcome,
        explanation=explanation,
    )


def _outcome(metric: _Metric, limit: float, *, at_least: bool) -> Outcome:
    low, high = metric.interval or (metric.measured, metric.measured)
    if (low >= limit) if at_least else (high <= limit):
        return Outcome.PASSED
    if (high < limit) if at_least else (low > limit):
        return Outcome.FAILED
    return Outcome.INCONCLUSIVE


def _stated(rule: _Rule, metric: _Metric, limit: float) -> str:
    measured = _amount(_rounded(metric.measured, limit), rule.unit)
    if metric.interval is None:
        return f"{rule.subject} is {measured} {metric.basis}".rstrip()
    low, high = (_rounded(bound, limit) for bound in metric.interval)
    return f"{rule.subject} is {measured} (95 % interval {low} to {_amount(high, rule.unit)})"


def _amount(number: str, unit: str) -> str:
    return "1 point" if (number, unit) == ("1", "points") else f"{number} {unit}".rstrip()


def _rounded(value: float, limit: float) -> str:
    """`value` with two decimals, or with enough to show on which side of `limit` it lies."""
    for decimals in range(2, 12):
        text = f"{value:.{decimals}f}"
        shown = float(text)
        same_side = (shown > limit) == (value > limit) and (shown < limit) == (value < limit)
        if same_side and abs(shown - value) <= 0.01 * abs(value):
            return text
    return repr(value)


def _p50(measurements: Measurements, precision: Precision) -> _Metric | None:
    row = measurements.engine_latency(precision)
    return None if row is None else _Metric(row.p50_ms, row.p50_interval_ms)


def _p99(measurements: Measurements, precision: Precision) -> _Metric | None:
    row = measurements.engine_latency(precision)
    return None if row is None else _Metric(row.p99_ms, row.p99_interval_ms)


def _speedup(measurements: Measurements, precision: Precision) -> _Metric | None:
    ratios = measurements.latency.ratios if measurements.latency else []
    for ratio in ratios:
        if (ratio.numerator, ratio.denominator) == ("teacher", precision):
            return _Metric(ratio.ratio, ratio.interval)
        if (ratio.numerator, ratio.denominator) == (precision, "teacher"):
            low, high = ratio.interval
            return _Metric(1 / ratio.ratio, (1 / high, 1 / low))
    return None


def _accuracy(measurements: Measurements, precision: Precision) -> _Metric | None:
    row = measurements.engine_accuracy(precision)
    return None if row is None else _Metric(row.top1, basis=_test_set(measurements))


def _accuracy_drop(measurements: Measurements, precision: Precision) -> _Metric | None:
    return _drop_from("teacher", measurements, precision)


def _quantization_drop(measurements: Measurements, precision: Precision) -> _Metric | None:
    return _drop_from("student", measurements, precision)


def _drop_from(
    reference: Representation, measurements: Measurements, precision: Precision
) -> _Metric | None:
    row, above = measurements.engine_accuracy(precision), measurements.ledger_row(reference)
    if row is None or above is None:
        return None
    # shares are binary fractions: unrounded, 95 % to 94 % would exceed a budget of 1 point
    return _Metric(round(100 * (above.top1 - row.top1), 9), basis=_test_set(measurements))


def _engine_size(measurements: Measurements, precision: Precision) -> _Metric | None:
    engine = measurements.engine_file(precision)
    return None if engine is None else _Metric(engine.bytes / 1e6)


def _test_set(measurements: Measurements) -> str:
    name = {"val": "validation", "test": "test"}[measurements.split]
    return f"on the fixed {name} set of {measurements.test_images} images"


_RULES = {
    "latency_p50_ms": _Rule("The median latency", "ms", False, _p50),
    "latency_p99_ms": _Rule("The p99 latency", "ms", False, _p99),
    "speedup_over_teacher": _Rule("The speed-up over the teacher", "times", True, _speedup),
    "accuracy": _Rule("The top-1 accuracy", "", True, _accuracy),
    "accuracy_drop_points": _Rule(
        "The loss of top-1 accuracy against the teacher", "points", False, _accuracy_drop
    ),
    "quantization_drop_points": _Rule(
        "The loss of top-1 accuracy against the unquantized student",
        "points",
        False,
        _quantization_drop,
    ),
    "engine_size_mb": _Rule("The engine size", "MB", False, _engine_size),
}
