"""Budgets held against measurements.

A figure that is exact for these bytes and these images (accuracy, size) passes or fails on its
value. A timed figure passes only when its whole 95 % interval keeps the budget, fails only when the
whole interval breaks it, and is inconclusive when the limit lies inside.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from tmkd_deploy.recipe.schema import Budgets
from tmkd_deploy.records.measurements import Interval, LatencyRow, LedgerRow, Measurements
from tmkd_deploy.records.verdict import Check, Outcome, Verdict


@dataclass(frozen=True)
class _Figure:
    """A measured value; `interval` is None where the value is exact, `basis` says for what."""

    measured: float
    interval: Interval | None = None
    basis: str = ""


@dataclass(frozen=True)
class _Rule:
    """What one budget limits. `measure` gives None where the figure was not measured."""

    subject: str
    unit: str
    at_least: bool
    measure: Callable[[Measurements], _Figure | None]


def judge(budgets: Budgets, measurements: Measurements) -> Verdict:
    """One check for each budget that is set, and the worst of them as the verdict.

    A figure that was not measured is inconclusive. A target without budgets has passed.
    """
    checks = [
        _check(budget, limit, measurements)
        for budget in _RULES
        if (limit := getattr(budgets, budget)) is not None
    ]
    outcomes = {check.outcome for check in checks}
    worst = next(
        (outcome for outcome in (Outcome.FAILED, Outcome.INCONCLUSIVE) if outcome in outcomes),
        Outcome.PASSED,
    )
    return Verdict(target=measurements.target, outcome=worst, checks=checks)


def shipped_accuracy(measurements: Measurements) -> LedgerRow | None:
    """The ledger's row of the engine that ships, or None where it never ran."""
    return _ledger_row(measurements, "engine", measurements.shipped)


def shipped_latency(measurements: Measurements) -> LatencyRow | None:
    """The latency of the engine that ships, or None where it was not timed."""
    if measurements.latency is None:
        return None
    rows = measurements.latency.rows
    return next((row for row in rows if row.engine == measurements.shipped), None)


def _check(budget: str, limit: float, measurements: Measurements) -> Check:
    rule = _RULES[budget]
    figure = rule.measure(measurements)
    demand = "asks for at least" if rule.at_least else "allows"
    allowed = f"the budget {demand} {_amount(f'{limit:.12g}', rule.unit)}"
    if figure is None:
        reason = measurements.not_measured or "The measurement holds no such figure."
        outcome = Outcome.INCONCLUSIVE
        explanation = f"{rule.subject} was not measured; {allowed}. {reason}"
    else:
        outcome = _outcome(figure, limit, at_least=rule.at_least)
        explanation = f"{_stated(rule, figure, limit)}; {allowed}."
        if outcome is Outcome.INCONCLUSIVE:
            explanation += " The limit lies inside the interval, so this run cannot tell."
    return Check(
        budget=budget,
        limit=limit,
        measured=figure.measured if figure else None,
        interval=figure.interval if figure else None,
        unit=rule.unit,
        outcome=outcome,
        explanation=explanation,
    )


def _outcome(figure: _Figure, limit: float, *, at_least: bool) -> Outcome:
    low, high = figure.interval or (figure.measured, figure.measured)
    if (low >= limit) if at_least else (high <= limit):
        return Outcome.PASSED
    if (high < limit) if at_least else (low > limit):
        return Outcome.FAILED
    return Outcome.INCONCLUSIVE


def _stated(rule: _Rule, figure: _Figure, limit: float) -> str:
    measured = _amount(_rounded(figure.measured, limit), rule.unit)
    if figure.interval is None:
        return f"{rule.subject} is {measured} {figure.basis}".rstrip()
    low, high = (_rounded(bound, limit) for bound in figure.interval)
    return f"{rule.subject} is {measured} (95 % interval {low} to {_amount(high, rule.unit)})"


def _amount(number: str, unit: str) -> str:
    return "1 point" if (number, unit) == ("1", "points") else f"{number} {unit}".rstrip()


def _rounded(value: float, limit: float) -> str:
    """`value` with two decimals, or more where it takes them to stay on its side of `limit`."""
    for decimals in range(2, 12):
        text = f"{value:.{decimals}f}"
        shown = float(text)
        same_side = (shown > limit) == (value > limit) and (shown < limit) == (value < limit)
        if same_side and abs(shown - value) <= 0.01 * abs(value):
            return text
    return repr(value)


def _ledger_row(
    measurements: Measurements, representation: str, precision: str | None = None
) -> LedgerRow | None:
    return next(
        (
            row
            for row in measurements.ledger
            if row.representation == representation and precision in (None, row.precision)
        ),
        None,
    )


def _p50(measurements: Measurements) -> _Figure | None:
    row = shipped_latency(measurements)
    return None if row is None else _Figure(row.p50_ms, row.p50_interval_ms)


def _p99(measurements: Measurements) -> _Figure | None:
    row = shipped_latency(measurements)
    return None if row is None else _Figure(row.p99_ms, row.p99_interval_ms)


def _speedup(measurements: Measurements) -> _Figure | None:
    ratios = measurements.latency.ratios if measurements.latency else []
    for ratio in ratios:
        if (ratio.numerator, ratio.denominator) == ("teacher", measurements.shipped):
            return _Figure(ratio.ratio, ratio.interval)
        if (ratio.numerator, ratio.denominator) == (measurements.shipped, "teacher"):
            low, high = ratio.interval
            return _Figure(1 / ratio.ratio, (1 / high, 1 / low))
    return None


def _accuracy(measurements: Measurements) -> _Figure | None:
    row = shipped_accuracy(measurements)
    return None if row is None else _Figure(row.top1, basis=_test_set(measurements))


def _accuracy_drop(measurements: Measurements) -> _Figure | None:
    return _drop_from("teacher", measurements)


def _quantization_drop(measurements: Measurements) -> _Figure | None:
    return _drop_from("student", measurements)


def _drop_from(representation: str, measurements: Measurements) -> _Figure | None:
    row, reference = shipped_accuracy(measurements), _ledger_row(measurements, representation)
    if row is None or reference is None:
        return None
    # Shares are binary fractions: without rounding, 95 % to 94 % would break a budget of 1 point.
    return _Figure(round(100 * (reference.top1 - row.top1), 9), basis=_test_set(measurements))


def _engine_size(measurements: Measurements) -> _Figure | None:
    sizes = {engine.precision: engine.bytes for engine in measurements.engines}
    size = sizes.get(measurements.shipped)
    return None if size is None else _Figure(size / 1e6)


def _test_set(measurements: Measurements) -> str:
    return f"on the fixed test set of {measurements.test_images} images"


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
    "engine_size_mb": _Rule("The size of the engine", "MB", False, _engine_size),
}
