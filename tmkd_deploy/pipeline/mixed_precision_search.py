"""Searching for the fewest layers to exclude from quantization so that the budgets are kept.

Every trial is a whole engine: fine-tuned, exported, built and measured. Its measurements stay in
the run folder, so an interrupted search resumes where it was.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

from tmkd_deploy.artifacts import Record
from tmkd_deploy.errors import RequestError
from tmkd_deploy.gate.trial_outcome import allowed_loss, outcome_of, search_summary, trial_of
from tmkd_deploy.pipeline.resolved_target import ResolvedTarget
from tmkd_deploy.pipeline.run_context import RunContext
from tmkd_deploy.pipeline.runner import artifact, resolve
from tmkd_deploy.pipeline.stage import Job, Ref, Stage, to_jsonable
from tmkd_deploy.pipeline.stages.distill import student_params
from tmkd_deploy.pipeline.teacher_inputs import student_inputs
from tmkd_deploy.quantize.mixed_precision import TrialOutcome, fewest_estimated, solve
from tmkd_deploy.recipe.schema import Recipe
from tmkd_deploy.records.measurements import Measurements
from tmkd_deploy.records.quantization import MixedPrecisionRecord, SearchOutcome
from tmkd_deploy.targets.racing import Race


def search_excluded_layers(context: RunContext, target: ResolvedTarget) -> Recipe:
    """The recipe, excluding those layers that the INT8 engine of `target` needs in floating point.

    The first estimate comes from calibration alone on training images. From there the engines
    themselves decide, on the validation split; the test split is left to the verdict.

    Raises:
        RequestError: the target has no INT8 engine, or several processes run.
    """
    if not context.only:
        _refuse(context, target)
    record = resolve(MixedPrecision(context, target)).record
    if not context.only:
        announce = (
            context.events.say if record.outcome is SearchOutcome.WITHIN else context.events.warn
        )
        announce(record.summary)
    context.note = record.summary
    return _excluding(context.recipe, record.trials[-1].excluded_layers)


@dataclasses.dataclass(frozen=True)
class Exclusion:
    """One trial: the recipe with some layers excluded, and the folder of its measurements."""

    target: ResolvedTarget
    recipe: Recipe
    name: str


class TrialRecord(Record):
    """What one trial measured."""

    measurements: Measurements


class Trial(Stage[Exclusion]):
    """Its engine stays in the run folder until the next trial, or the run itself, replaces it."""

    name = "trial"
    record_type = TrialRecord

    def params(self) -> dict[str, Any]:
        """Everything that the stages from `quantize` to `measure` depend on."""
        return _params(self.subject.recipe, self.subject.target)

    def inputs(self) -> dict[str, Ref]:
        """What the trials share."""
        return student_inputs(self.context.recipe)

    def run(self, job: Job) -> TrialRecord:
        """Run the stages on a copy of the context that excludes the layers."""
        own = dataclasses.replace(
            self.context,
            recipe=self.subject.recipe,
            force=None,
            artifacts={(ref.stage, None): job.inputs[n] for n, ref in self.inputs().items()},
            results=[],
        )
        target = self.subject.target
        target = dataclasses.replace(
            target,
            race=Race((target.race.own,)),  # the layers are those of its own INT8 engine
            compares_post_training=False,
            judged_on="val",
        )
        return TrialRecord(measurements=artifact(own, Ref("measure", target)).record)


class MixedPrecision(Stage[ResolvedTarget]):
    """The search: which trial stands, and how it ended."""

    name = "mixed_precision"
    record_type = MixedPrecisionRecord

    def params(self) -> dict[str, Any]:
        """Those of the trials, the budgets, and how many trials are allowed."""
        recipe, target = self.context.recipe, self.subject
        return {
            **_params(_without_comparisons(recipe), target),
            "budgets": to_jsonable(target.budgets),
            "trials": recipe.quantize.mixed_precision_trials,
        }

    def inputs(self) -> dict[str, Ref]:
        """The ranking of the layers, and what the trials share."""
        return {**student_inputs(self.context.recipe), "sensitivity": Ref("sensitivity")}

    def run(self, job: Job) -> MixedPrecisionRecord:
        """Try engines until one keeps its budgets, or the search ends."""
        target, ranking = self.subject, job.inputs["sensitivity"].record
        order = [each.layer for each in ranking.layers]
        lost = [-cost.points for cost in ranking.by_count]
        measured: dict[int, Measurements] = {}

        def attempt(count: int) -> TrialOutcome:
            measured[count] = self._measure(order[:count])
            return outcome_of(target.budgets, measured[count])

        student = job.inputs["student"].record.top1
        teacher = job.inputs["teacher"].record.top1_by_view["rgb"]
        allowed = allowed_loss(target.budgets, student, teacher)
        solution = solve(
            len(order),
            fewest_estimated(lost, allowed),
            self.context.recipe.quantize.mixed_precision_trials,
            attempt,
            student_accurate=allowed >= 0,
        )
        trials = [
            trial_of(target.budgets, measured[count], order[:count], -lost[count])
            for count in solution.counts
        ]
        return MixedPrecisionRecord(
            target=target.name,
            outcome=solution.outcome,
            trials=trials,
            summary=search_summary(target.name, solution, trials),
        )

    def _measure(self, layers: list[str]) -> Measurements:
        target, count = self.subject, len(layers)
        excluded = ", ".join(layers) or "no layer"
        self.context.events.say(f"Trying an INT8 engine for {target.name} excluding {excluded}.")
        recipe = _excluding(_without_comparisons(self.context.recipe), layers)
        trial = Trial(self.context, Exclusion(target, recipe, f"{count}-excluded"))
        return resolve(trial).record.measurements  # type: ignore[no-any-return]


def _refuse(context: RunContext, target: ResolvedTarget) -> None:
    if "int8" not in target.precisions:
        raise RequestError(
            f"The first target, {target.name!r}, has no INT8 engine to exclude layers from.",
            where="quantize.mixed_precision_trials",
            advice="Add int8 to its precisions, or set quantize.mixed_precision_trials to 0.",
        )
    if context.process_group.size > 1:
        raise RequestError(
            "The mixed-precision search runs in a single process.",
            where="quantize.mixed_precision_trials",
            advice="Run `tmkd-deploy distill` with several processes, and the later commands with "
            "one.",
        )


def _params(recipe: Recipe, target: ResolvedTarget) -> dict[str, Any]:
    return {
        **student_params(recipe),
        "quantize": {**to_jsonable(recipe.quantize), "mixed_precision_trials": None},
        "export": to_jsonable(recipe.export),
        "measure": to_jsonable(recipe.measure),
        "decision": to_jsonable(recipe.decision),
        "target": target.profile.model_dump(mode="json"),
        "precisions": target.precisions,
        "machine": target.machine,
        "frame": target.frame,
    }


def _without_comparisons(recipe: Recipe) -> Recipe:
    """Rows beside the engine do not decide, and would be made again for every trial."""
    return _with_quantize(recipe, compare=[])


def _excluding(recipe: Recipe, layers: Sequence[str]) -> Recipe:
    return _with_quantize(recipe, exclude_layers=[*recipe.quantize.exclude_layers, *layers])


def _with_quantize(recipe: Recipe, **changes: list[str]) -> Recipe:
    quantize = recipe.quantize.model_copy(update=changes)
    return recipe.model_copy(update={"quantize": quantize})
