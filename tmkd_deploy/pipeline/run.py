"""One run of the pipeline: a goal, its targets, and the outcome."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

from tmkd_deploy import artifacts
from tmkd_deploy.artifacts import Record
from tmkd_deploy.devices.attached_devices import AttachedDevices
from tmkd_deploy.engines.registry import runtime
from tmkd_deploy.errors import ExitCode, from_os_error
from tmkd_deploy.events import Events, SilentEvents
from tmkd_deploy.gate.gate import refuse_unknown_classes
from tmkd_deploy.measure.threshold import check_guarded_class
from tmkd_deploy.pipeline.concurrency import run_concurrently
from tmkd_deploy.pipeline.mixed_precision_search import search_excluded_layers
from tmkd_deploy.pipeline.plan import plan
from tmkd_deploy.pipeline.planned_stage import PlannedStage
from tmkd_deploy.pipeline.resolve_targets import requested_targets, resolve_target
from tmkd_deploy.pipeline.resolved_target import ResolvedTarget
from tmkd_deploy.pipeline.run_context import RunContext, StageResult
from tmkd_deploy.pipeline.run_lock import only_process_in
from tmkd_deploy.pipeline.runner import artifact, number_stages
from tmkd_deploy.pipeline.stage import Ref
from tmkd_deploy.recipe.schema import Recipe
from tmkd_deploy.records.verdict import worst
from tmkd_deploy.report.run_report import publish
from tmkd_deploy.targets import catalog
from tmkd_deploy.training.process_group import SingleProcess, process_group

GOALS = (
    "prepare",
    "train_teacher",
    "score_views",
    "distill",
    "sensitivity",
    "quantize",
    "export",
    "build",
    "measure",
    "gate",
    "bundle",
    "report",
)
_TRAINING_GOALS = GOALS[: GOALS.index("quantize") + 1]
_DEVICE_GOALS = GOALS[GOALS.index("build") :]
_QUANTIZED_GOALS = GOALS[GOALS.index("quantize") :]


@dataclass(frozen=True)
class RunResult:
    """What a run did; `exit_code` is that of its gates, 0 where none was reached.

    Of several processes only the main one has anything to report.
    """

    folder: Path
    stages: list[StageResult]
    exit_code: ExitCode
    is_main_process: bool = True

    def record(self, stage: str, target: str | None = None) -> Record:
        """What `stage` recorded, for `target` where it runs once for each."""
        for result in self.stages:
            if result.stage == stage and result.target == target:
                return result.record
        raise KeyError((stage, target))


def run(
    recipe: Recipe,
    *,
    runs: Path,
    goal: str,
    targets: Sequence[str] | None,
    device: str | None = None,
    events: Events,
    force: bool = False,
    only: bool = False,
) -> RunResult:
    """Bring `goal` up to date, and every stage that it depends on.

    Args:
        runs: holds the run folder, `runs/<recipe.name>`.
        goal: one of `GOALS`.
        targets: names of targets, or None for all of the recipe; one that the recipe does not
            name is added without budgets.
        device: address of the device that the one requested target is attached to; None leaves it
            to the recipe.
        force: run the goal's own stage although it is fresh.
        only: run the goal's own stage alone, on what the run folder holds, fresh or stale.

    Raises:
        TmkdError: whatever a stage raises; the run folder keeps what was finished.
    """
    requested = requested_targets(recipe, targets, device)
    folder = runs / recipe.name
    with process_group() as group:
        is_main = group.is_main_process
        context = _new_context(recipe, folder, events if is_main else SilentEvents(), group)
        context.force, context.only = goal if force else None, goal if only else None
        try:
            with only_process_in(folder) if is_main else nullcontext(), _swept(folder, is_main):
                context.targets = [resolve_target(target, context) for target in requested]
                if _searches_layers(recipe, goal):
                    if not only:
                        _refuse_unknown_classes(context)
                    first = resolve_target(requested_targets(recipe, None, None)[0], context)
                    context.recipe = search_excluded_layers(context, first)
                _run_goal(goal, context)
        except OSError as error:
            raise from_os_error(error) from error
    return RunResult(folder, context.results, _exit_code(context), is_main)


def plan_run(
    recipe: Recipe,
    *,
    runs: Path,
    goal: str,
    targets: Sequence[str] | None,
    device: str | None = None,
    events: Events,
    force: bool = False,
) -> list[PlannedStage]:
    """What `run` would do with these arguments; a search for excluded layers is not foreseen.

    Raises:
        TmkdError: a target, the data or a model cannot be used.
    """
    context = _new_context(recipe, runs / recipe.name, events, SingleProcess())
    context.force = goal if force else None
    requested = requested_targets(recipe, targets, device)
    context.targets = [resolve_target(target, context) for target in requested]
    return plan(context, _refs(goal, context))


def _new_context(
    recipe: Recipe, folder: Path, events: Events, process_group: SingleProcess
) -> RunContext:
    first = catalog.get(recipe.targets[0].target)
    scheme = runtime(first.runtime).quant_scheme
    return RunContext(recipe, folder, events, AttachedDevices(events), process_group, scheme)


def _run_goal(goal: str, context: RunContext) -> None:
    refs = _refs(goal, context)
    number_stages(context, refs)
    if not context.only:
        artifact(context, Ref("prepare"))
        if context.process_group.is_main_process:
            context.planned = plan(context, refs)
    if goal in _DEVICE_GOALS and not context.only:
        _refuse_unknown_classes(context)
    if context.process_group.size > 1 and goal not in _TRAINING_GOALS:
        if not context.only:
            _train_all(context)
        if not context.process_group.is_main_process:
            return
        context.process_group = SingleProcess()  # the remaining stages need no other process
    if goal in _DEVICE_GOALS and not context.only:
        _use_devices(goal, context)
    for ref in refs:
        artifact(context, ref)
    if goal in ("bundle", "report"):
        for target in context.targets:
            if target.needs_kit:
                context.events.say(
                    f"No bundle for {target.name} yet: build its engine on the device first."
                )
    if goal == "report":
        publish(artifact(context, Ref("report")), context.folder)


def _refuse_unknown_classes(context: RunContext) -> None:
    """Refuse classes of the recipe that the data do not have, before anything is trained."""
    decision = context.recipe.decision
    if decision.guarded_class is not None:
        few = check_guarded_class(decision, artifact(context, Ref("prepare")).record)
        if few:
            context.events.warn(few)
    for target in context.targets:
        if target.budgets.recall or target.budgets.precision:
            names = artifact(context, Ref("prepare")).record.class_names
            refuse_unknown_classes(target.budgets, names, target.name)


def _refs(goal: str, context: RunContext) -> list[Ref]:
    """The stages that a goal stands for."""
    if goal in _TRAINING_GOALS or goal == "report":
        return [Ref(goal)]
    if goal == "export":
        return [Ref(goal, each) for target in context.targets for each in target.all_variants]
    # where there is no engine to bundle yet, the verdict is as far as a target gets
    return [
        Ref("gate" if goal == "bundle" and target.needs_kit else goal, target)
        for target in context.targets
    ]


def _train_all(context: RunContext) -> None:
    artifact(context, Ref("quantize" if context.recipe.quantize.enabled else "distill"))


def _use_devices(goal: str, context: RunContext) -> None:
    """Build or measure on all attached devices at the same time, instead of one after another."""
    attached: dict[str, list[ResolvedTarget]] = {}
    for target in context.targets:
        if target.device:
            attached.setdefault(target.device, []).append(target)
    if len(attached) < 2:
        return
    # what this machine makes for the devices comes first, one stage after another
    _train_all(context)
    for targets in attached.values():
        for target in targets:
            for variant in target.all_variants:
                artifact(context, Ref("export", variant))
            if target.compares_post_training:
                artifact(context, Ref("post_training"))

    def use(device: str) -> None:
        for target in attached[device]:
            artifact(context, Ref("build" if goal == "build" else "measure", target))

    run_concurrently([functools.partial(use, device) for device in attached])


def _searches_layers(recipe: Recipe, goal: str) -> bool:
    quantize = recipe.quantize
    return quantize.enabled and quantize.mixed_precision_trials > 0 and goal in _QUANTIZED_GOALS


@contextlib.contextmanager
def _swept(folder: Path, is_main: bool) -> Iterator[None]:
    """Remove what a killed process left before, and what an interrupted clean-up leaves now."""
    try:
        if is_main:
            artifacts.sweep_drafts(folder)
        yield
    except BaseException:
        if is_main:
            artifacts.sweep_drafts(folder)
        raise


def _exit_code(context: RunContext) -> ExitCode:
    """The worst verdict of the gates that were reached; 0 where none was."""
    outcomes = [
        each.record.verdict.outcome
        for (stage, _), each in context.artifacts.items()
        if stage == "gate"
    ]
    return worst(outcomes).exit_code if outcomes else ExitCode.OK
