"""Evaluate the trials of a mixed-precision search."""

from __future__ import annotations

from collections.abc import Sequence

from tmkd_deploy.gate.evaluate import evaluate, meets_estimate
from tmkd_deploy.quantize.mixed_precision import SearchResult, TrialOutcome
from tmkd_deploy.recipe.schema import Budgets
from tmkd_deploy.records.measurements import Measurements
from tmkd_deploy.records.quantization import SearchOutcome, Trial
from tmkd_deploy.records.verdict import Outcome


def allowed_loss(budgets: Budgets, student_top1: float, teacher_top1: float) -> float:
    """How many points the INT8 engine may lose against the unquantized student under all budgets.

    `student_top1` and `teacher_top1` lie in [0, 1]. At least one budget must limit accuracy.
    """
    student, teacher = 100 * student_top1, 100 * teacher_top1
    limits = []
    if budgets.quantization_drop_points is not None:
        limits.append(budgets.quantization_drop_points)
    if budgets.accuracy_drop_points is not None:
        limits.append(budgets.accuracy_drop_points - (teacher - student))
    if budgets.accuracy is not None:
        limits.append(student - 100 * budgets.accuracy)
    return min(limits)


def outcome_of(budgets: Budgets, measurements: Measurements) -> TrialOutcome:
    """Whether the INT8 engine of a trial is accurate and fast enough; not if it is unusable.

    An engine whose measured accuracy breaks a budget is inaccurate, although the interval may leave
    it open: excluding more layers may still help.
    """
    if "int8" in measurements.unusable:
        return TrialOutcome(inaccurate=True, slow=False, conclusive=False)
    checks = evaluate(budgets, measurements, "int8").checks
    accuracy = budgets.of_accuracy.limits
    return TrialOutcome(
        inaccurate=any(not meets_estimate(each) for each in checks if each.budget in accuracy),
        slow=any(each.outcome is Outcome.FAILED for each in checks if each.budget not in accuracy),
        conclusive=all(check.outcome is Outcome.PASSED for check in checks),
    )


def trial_of(
    budgets: Budgets, measurements: Measurements, layers: list[str], estimated: float
) -> Trial:
    """The record of a trial that excluded `layers`; `estimated` is the change in points."""
    student = measurements.ledger_row("teacher" if measurements.model_is_given else "student")
    engine = measurements.engine_accuracy("int8")
    latency = measurements.engine_latency("int8")
    broken = measurements.unusable.get("int8")
    checks = [] if broken else evaluate(budgets, measurements, "int8").checks
    not_kept = [each.explanation for each in checks if each.outcome is not Outcome.PASSED]
    return Trial(
        excluded_layers=layers,
        estimated_points=estimated,
        points=100 * (engine.top1 - student.top1) if engine and student else None,
        p50_ms=latency.p50_ms if latency else None,
        not_kept=[broken.reason] if broken else not_kept,
    )


def search_summary(target: str, solution: SearchResult, trials: Sequence[Trial]) -> str:
    """How a search ended, in one or two sentences."""
    last = trials[-1]
    engine = f"the INT8 engine for {target}"
    excluding = f"Excluding {', '.join(last.excluded_layers) or 'no layer'}, {engine}"
    reasons = " ".join(last.not_kept)
    if solution.outcome is SearchOutcome.WITHIN:
        return f"{excluding} meets its budgets."
    if solution.outcome is SearchOutcome.UNCERTAIN:
        return f"{excluding} breaks no budget, but not all could be decided. {reasons}"
    if solution.outcome is SearchOutcome.STUDENT_INACCURATE:
        return (
            f"The unquantized student itself misses an accuracy budget of {target} on the "
            f"validation images, so excluding layers from quantization cannot help. {reasons}"
        )
    counts = ", ".join(str(count) for count in solution.counts)
    if solution.outcome is SearchOutcome.OUT_OF_TRIALS:
        return (
            f"With {counts} layers excluded, {engine} breaks its budgets, and "
            f"quantize.mixed_precision_trials allows no more trials. The last trial: {reasons}"
        )
    return (
        f"No number of excluded layers makes {engine} meet its budgets; {counts} were tried. "
        f"The last trial: {reasons}"
    )
