"""Seeking the layers that have to stay in floating point for an engine to keep its budgets.

Every try is a whole engine, fine-tuned, exported, built and measured; it leaves its figures in the
run folder, so that a search that was interrupted goes on where it was.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from tmkd_deploy.artifacts import Artifact, Record
from tmkd_deploy.errors import RequestError
from tmkd_deploy.gate.judge import judge
from tmkd_deploy.pipeline.deployment import Deployment
from tmkd_deploy.pipeline.reach import Inputs, Reach, never, plain
from tmkd_deploy.pipeline.stage import Runner
from tmkd_deploy.pipeline.training import Training, student_asks
from tmkd_deploy.quantize.mixed_precision import Solution, Tried, fewest_estimated, solve
from tmkd_deploy.recipe.schema import Recipe, Target
from tmkd_deploy.records.measurements import LedgerRow, Measurements
from tmkd_deploy.records.quantization import Ending, MixedPrecisionRecord, Trial
from tmkd_deploy.records.verdict import Outcome
from tmkd_deploy.targets import catalog as profiles

_ACCURACY = ("accuracy", "accuracy_drop_points", "quantization_drop_points")
_ROOMS = (
    *("models", "training", "distill", "quantize", "export", "engines", "measure"),
    "runtime/onnxruntime_session.py",
)
_JUDGING = ("quantize", "gate", "pipeline/fallback.py")


class TrialRecord(Record):
    """What one try measured."""

    measurements: Measurements


def settle(reach: Reach, target: Target) -> Recipe:
    """The recipe with those layers left out that the INT8 engine of `target` needs.

    The first estimate is of calibration alone on training images. From there the engine itself
    decides, on the test split, which therefore chooses among as many engines as were tried.

    Raises:
        RequestError: the target has no INT8 engine, or several processes run.
    """
    if reach.runner.only:
        record = reach.stage("fallback", MixedPrecisionRecord, {}, {}, _JUDGING, never).record
    else:
        _refuse(reach, target)
        record = _sought(reach, target)
        tell = reach.events.say if record.ending is Ending.WITHIN else reach.events.warn
        tell(record.summary)
    return _leaving_out(reach.recipe, record.attempts[-1].excluded_layers)


def _sought(reach: Reach, target: Target) -> MixedPrecisionRecord:
    training, tries = Training(reach), reach.recipe.quantize.mixed_precision_trials
    ranked = training.sensitivity.record
    order = [each.layer for each in ranked.layers]
    lost = [-cost.points for cost in ranked.by_count]
    tried: dict[int, Artifact[TrialRecord]] = {}

    def attempt(count: int) -> Tried:
        named = ", ".join(order[:count]) or "nothing more"
        reach.events.say(f"Trying an INT8 engine for {target.target} that leaves out {named}.")
        tried[count] = _measured(reach, training, target, order[:count])
        return _judged(target, tried[count].record.measurements)

    estimated = fewest_estimated(lost, _allowed(training, target))
    solution = solve(len(order), estimated, tries, attempt)

    def make(_: Path) -> MixedPrecisionRecord:
        attempts = [
            _attempt(target, tried[count].record.measurements, order[:count], -lost[count])
            for count in solution.counts
        ]
        summary = _summary(target, solution, attempts)
        return MixedPrecisionRecord(
            target=target.target, ending=solution.ending, attempts=attempts, summary=summary
        )

    inputs: Inputs = {f"{count} left out": artifact for count, artifact in tried.items()}
    inputs["sensitivity"] = training.sensitivity
    asks = {"budgets": plain(target.budgets), "tries": tries}
    return reach.stage("fallback", MixedPrecisionRecord, asks, inputs, _JUDGING, make).record


def _refuse(reach: Reach, target: Target) -> None:
    if "int8" not in (target.precisions or ()):
        raise RequestError(
            f"The first target, {target.target!r}, has no INT8 engine to leave layers out of.",
            where="quantize.mixed_precision_trials",
            advice="Add int8 to its precisions, or set quantize.mixed_precision_trials to 0.",
        )
    if reach.runner.company.size > 1:
        raise RequestError(
            "Layers to leave out are sought by one process alone.",
            where="quantize.mixed_precision_trials",
            advice="Let several processes run `tmkd-deploy distill`, and one the commands after.",
        )


def _measured(
    reach: Reach, training: Training, target: Target, excluded_layers: list[str]
) -> Artifact[TrialRecord]:
    """A try's figures; its engine stays in the run folder until the next stage takes its place."""
    recipe = _leaving_out(reach.recipe, excluded_layers)
    # rows beside the engine do not decide, and would be made anew for every try
    recipe = _with_quantize(recipe, compare=[])
    asks = {
        **student_asks(recipe),
        "quantize": {**plain(recipe.quantize), "fallback": None},
        "export": plain(recipe.export),
        "measure": plain(recipe.measure),
        "target": profiles.get(target.target).model_dump(mode="json"),
        "precisions": target.precisions,
        "machine": Deployment(training).machine(target),
    }
    inputs: Inputs = {
        "data": training.prepared,
        "teacher": training.teacher,
        "weighed": training.view_scores,
        "student": training.student,
    }

    def make(folder: Path) -> TrialRecord:
        own = Reach(recipe, reach.folder, Runner(company=reach.runner.company), reach.events)
        return TrialRecord(measurements=Deployment(Training(own)).measured(target).record)

    name = f"{len(excluded_layers)}-left-out"
    return reach.stage("attempt", TrialRecord, asks, inputs, _ROOMS, make, name)


def _leaving_out(recipe: Recipe, excluded_layers: Sequence[str]) -> Recipe:
    return _with_quantize(
        recipe, exclude_layers=[*recipe.quantize.exclude_layers, *excluded_layers]
    )


def _with_quantize(recipe: Recipe, **changes: list[str]) -> Recipe:
    quantize = recipe.quantize.model_copy(update=changes)
    return recipe.model_copy(update={"quantize": quantize})


def _allowed(training: Training, target: Target) -> float:
    """How many points the INT8 engine may lose against the unquantized student, by all budgets."""
    budgets = target.budgets
    student = 100 * training.student.record.top1
    teacher = 100 * training.teacher.record.top1_by_view["rgb"]
    limits = []
    if budgets.quantization_drop_points is not None:
        limits.append(budgets.quantization_drop_points)
    if budgets.accuracy_drop_points is not None:
        limits.append(budgets.accuracy_drop_points - (teacher - student))
    if budgets.accuracy is not None:
        limits.append(student - 100 * budgets.accuracy)
    return min(limits)


def _judged(target: Target, measurements: Measurements) -> Tried:
    checks = judge(target.budgets, _of_int8(measurements)).checks
    broken = [check.budget for check in checks if check.outcome is Outcome.FAILED]
    return Tried(
        inaccurate=any(budget in _ACCURACY for budget in broken),
        slow=any(budget not in _ACCURACY for budget in broken),
        certain=all(check.outcome is Outcome.PASSED for check in checks),
    )


def _attempt(
    target: Target, measurements: Measurements, excluded_layers: list[str], estimated: float
) -> Trial:
    student, engine = (
        _row(measurements, representation) for representation in ("student", "engine")
    )
    rows = measurements.latency.rows if measurements.latency else []
    checks = judge(target.budgets, _of_int8(measurements)).checks
    return Trial(
        excluded_layers=excluded_layers,
        estimated_points=estimated,
        points=100 * (engine.top1 - student.top1) if engine and student else None,
        p50_ms=next((row.p50_ms for row in rows if row.engine == "int8"), None),
        not_kept=[each.explanation for each in checks if each.outcome is not Outcome.PASSED],
    )


def _of_int8(measurements: Measurements) -> Measurements:
    return measurements.model_copy(update={"shipped": "int8"})


def _row(measurements: Measurements, representation: str) -> LedgerRow | None:
    return next(
        (
            row
            for row in measurements.ledger
            if row.representation == representation
            and (row.precision == "int8" or representation == "student")
        ),
        None,
    )


def _summary(target: Target, solution: Solution, attempts: Sequence[Trial]) -> str:
    last = attempts[-1]
    engine = f"the INT8 engine for {target.target}"
    named = ", ".join(last.excluded_layers) if last.excluded_layers else "nothing more"
    reasons = " ".join(last.not_kept)
    if solution.ending is Ending.WITHIN:
        return f"Leaving out {named}, {engine} keeps its budgets."
    if solution.ending is Ending.UNCERTAIN:
        return (
            f"Leaving out {named}, {engine} breaks no budget, but not all could be told. {reasons}"
        )
    counts = ", ".join(str(count) for count in solution.counts)
    if solution.ending is Ending.OUT_OF_TRIES:
        return (
            f"With {counts} layers left out {engine} breaks its budgets, and no more tries are "
            f"allowed by quantize.mixed_precision_trials. The last try: {reasons}"
        )
    return (
        f"No number of layers left out makes {engine} keep its budgets; {counts} were tried. "
        f"The last try: {reasons}"
    )
