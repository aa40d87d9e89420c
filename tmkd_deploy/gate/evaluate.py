"""Evaluate budgets against measurements.

A metric passes only if its whole 95 % interval is within the budget, fails only if the whole
interval is outside it, and is inconclusive if the limit lies inside the interval. What is exact,
the size of a file, passes or fails by its value. `docs/explanation/verdict.md` has the rules.
"""

from __future__ import annotations

from tmkd_deploy.gate.metrics import Metric, Rule, rule
from tmkd_deploy.gate.warnings import warnings
from tmkd_deploy.recipe.schema import Budgets
from tmkd_deploy.records.engine_names import engine_title
from tmkd_deploy.records.measurements import Measurements
from tmkd_deploy.records.verdict import Check, Outcome, Verdict, worst

_MOST_IMAGES_TOLD = 1_000_000


def evaluate(budgets: Budgets, measurements: Measurements, engine: str) -> Verdict:
    """Check one engine, by its name, against every budget that is set.

    The verdict's outcome is the worst of its checks. A metric that was not measured is
    inconclusive. Without budgets, if nobody ran the engine, or if the test split repeats training
    images, the engine is not judged, unless a budget fails or is inconclusive.

    Raises:
        ValueError: the engine is unusable, so there is nothing to judge, or a budget names a class
            that there is not.
    """
    if engine in measurements.unusable:
        raise ValueError(f"no verdict on an unusable engine: {measurements.unusable[engine]}")
    checks = [
        _check(budget, limit, measurements, engine) for budget, limit in budgets.limits.items()
    ]
    not_judged = _not_judged(checks, measurements, engine)
    outcome = worst(check.outcome for check in checks)
    return Verdict(
        target=measurements.target,
        outcome=Outcome.NOT_JUDGED if not_judged and outcome is Outcome.PASSED else outcome,
        checks=checks,
        not_judged=not_judged,
        warnings=warnings(measurements, engine),
    )


def meets_estimate(check: Check) -> bool:
    """Whether the measured value itself meets the limit, whatever its interval says."""
    if check.measured is None:
        return True
    sign = 1 if rule(check.budget).at_least else -1
    return sign * check.measured >= sign * check.limit


def _not_judged(checks: list[Check], measurements: Measurements, engine: str) -> str | None:
    if not checks:
        return "The recipe sets no budgets for this target."
    if not measurements.ran(engine):
        why = measurements.not_measured or ""
        return f"Nobody has run the {engine_title(engine)} engine. {why}".rstrip()
    return measurements.unfit_split


def _check(budget: str, limit: float, measurements: Measurements, engine: str) -> Check:
    subject = rule(budget, model_is_given=measurements.model_is_given)
    metric = subject.measure(measurements, engine)
    demand = "requires at least" if subject.at_least else "allows"
    allowed = f"the budget {demand} {_amount(f'{limit:.12g}', subject.unit)}"
    if metric is None:
        reason = measurements.not_measured or subject.missing
        outcome = Outcome.INCONCLUSIVE
        explanation = f"{subject.subject} was not measured; {allowed}. {reason}"
    else:
        outcome = _outcome(metric, limit, at_least=subject.at_least)
        explanation = f"{_stated(subject, metric, limit)}; {allowed}."
        if outcome is Outcome.INCONCLUSIVE:
            explanation += f" {_undecided(metric, limit)}"
    return Check(
        budget=budget,
        limit=limit,
        measured=metric.measured if metric else None,
        interval=metric.interval if metric else None,
        unit=subject.unit,
        outcome=outcome,
        explanation=explanation,
    )


def _outcome(metric: Metric, limit: float, *, at_least: bool) -> Outcome:
    low, high = metric.interval or (metric.measured, metric.measured)
    if (low >= limit) if at_least else (high <= limit):
        return Outcome.PASSED
    if (high < limit) if at_least else (low > limit):
        return Outcome.FAILED
    return Outcome.INCONCLUSIVE


def _undecided(metric: Metric, limit: float) -> str:
    """Why the run cannot decide, and how many test images would."""
    if metric.images_to_decide is None:
        return "The limit lies inside the interval, so this run cannot decide."
    begun = f"The limit lies inside the interval, so {metric.images} cannot decide"
    needed = metric.images_to_decide(limit)
    if needed is None:
        return f"{begun}; the value is the limit itself, so no number of images would."
    if needed > _MOST_IMAGES_TOLD:
        return f"{begun}; it would take more than {_MOST_IMAGES_TOLD:,}."
    return f"{begun}; about {_two_digits(needed):,} would."


def _two_digits(count: int) -> int:
    """`count`, rounded up to two significant digits."""
    step = int(10 ** max(0, len(str(count)) - 2))
    return -(-count // step) * step


def _stated(subject: Rule, metric: Metric, limit: float) -> str:
    name = subject.gain if subject.gain and metric.measured < 0 else subject.subject
    amount = _amount(_rounded(abs(metric.measured), limit), subject.unit)
    on = f" on {metric.images}" if metric.images else ""
    return f"{name} is {amount}{_interval(subject, metric, limit)}{on}"


def _interval(subject: Rule, metric: Metric, limit: float) -> str:
    if metric.interval is None:
        return ""
    if subject.gain and metric.interval[0] < 0:
        low, high = (_side(bound, limit) for bound in metric.interval)
        return f" (95 % interval: {low} to {high})"
    low, high = (_rounded(bound, limit) for bound in metric.interval)
    return f" (95 % interval {low} to {_amount(high, subject.unit)})"


def _side(loss: float, limit: float) -> str:
    """The end of an interval of losses, such as 'a gain of 0.7'."""
    return f"a {'gain' if loss < 0 else 'loss'} of {_rounded(abs(loss), limit)}"


def _amount(number: str, unit: str) -> str:
    one = float(number) == 1 and unit == "points"
    return f"{number} {'point' if one else unit}".rstrip()


def _rounded(value: float, limit: float) -> str:
    """`value` with two decimals, or with enough to show on which side of `limit` it lies."""
    for decimals in range(2, 12):
        text = f"{value:.{decimals}f}"
        shown = float(text)
        same_side = (shown > limit) == (value > limit) and (shown < limit) == (value < limit)
        if same_side and abs(shown - value) <= 0.01 * abs(value):
            return text
    return repr(value)
