"""Reaching a goal in a run folder: the targets, the lock, and the outcome."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

from tmkd_deploy import artifacts
from tmkd_deploy.artifacts import Facts
from tmkd_deploy.engines.variants import refuse_unreadable_opset
from tmkd_deploy.errors import ExitCode, RequestError, from_os_error
from tmkd_deploy.events import Events, SilentEvents
from tmkd_deploy.pipeline.company import Alone, company
from tmkd_deploy.pipeline.deployment import Deployment
from tmkd_deploy.pipeline.fallback import settle
from tmkd_deploy.pipeline.lock import only_process_in
from tmkd_deploy.pipeline.reach import Reach
from tmkd_deploy.pipeline.stage import Runner, StageResult
from tmkd_deploy.pipeline.training import Training
from tmkd_deploy.recipe.schema import Recipe, Target
from tmkd_deploy.targets import profile as profiles

GOALS = (
    "prepare",
    "teach",
    "weigh",
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
_QUANTIZED_GOALS = GOALS[GOALS.index("quantize") :]


@dataclass(frozen=True)
class RunResult:
    """What a run did; `exit_code` is that of its gates, 0 where none was reached.

    Of several processes only the one that `leads` has anything to tell.
    """

    folder: Path
    stages: list[StageResult]
    exit_code: ExitCode
    leads: bool = True

    def facts(self, stage: str, target: str | None = None) -> Facts:
        """What `stage` recorded, for `target` where it works for one."""
        for result in self.stages:
            if result.stage == stage and result.target == target:
                return result.facts
        raise KeyError((stage, target))


def run(
    recipe: Recipe,
    *,
    runs: Path,
    goal: str,
    targets: Sequence[str] | None,
    events: Events,
    force: bool = False,
    only: bool = False,
) -> RunResult:
    """Reach `goal`, running the stages before it that are not fresh.

    Args:
        runs: holds the run folder, `runs/<recipe.name>`.
        targets: names of targets, or None for all of the recipe; one that the recipe does not
            name is added without budgets.
        force: run the goal's own stage although it is fresh.
        only: run the goal's own stage alone, on what the run folder holds, fresh or stale.
    """
    chosen = _chosen_targets(recipe, targets)
    folder = runs / recipe.name
    with company() as together:
        runner = Runner(goal if force else None, goal if only else None, together)
        try:
            with only_process_in(folder) if together.leads else nullcontext():
                if together.leads:
                    _sweep(folder)
                else:
                    events = SilentEvents()
                reach = Reach(recipe, folder, runner, events)
                if _seeks_layers(recipe, goal):
                    reach.recipe = settle(reach, _chosen_targets(recipe, None)[0])
                _go(goal, Training(reach), chosen)
        except OSError as error:
            raise from_os_error(error) from error
    return RunResult(folder, runner.results, reach.exit_code(), together.leads)


def _seeks_layers(recipe: Recipe, goal: str) -> bool:
    return recipe.quantize.enabled and recipe.quantize.fallback > 0 and goal in _QUANTIZED_GOALS


def _sweep(folder: Path) -> None:
    for place in (folder, *(path for path in folder.iterdir() if path.is_dir())):
        artifacts.sweep_drafts(place)


def _go(goal: str, training: Training, targets: list[Target]) -> None:
    runner = training.reach.runner
    if runner.company.size > 1 and goal not in _TRAINING_GOALS:
        if not runner.only:
            training.all_models()
        if not runner.company.leads:
            return
        runner.company = Alone()  # no stage that is left needs the others
    deployment = Deployment(training)
    for_all: dict[str, Callable[[], object]] = {
        "prepare": lambda: training.prepared,
        "teach": lambda: training.teacher,
        "weigh": lambda: training.weighed,
        "distill": lambda: training.student,
        "sensitivity": lambda: training.sensitivity,
        "quantize": lambda: training.quantized,
        "report": lambda: deployment.report(targets),
    }
    for_each: dict[str, Callable[[Target], object]] = {
        "export": deployment.onnx,
        "build": deployment.engines,
        "measure": deployment.measured,
        "gate": deployment.judged,
        "bundle": deployment.bundled,
    }
    if goal in for_all:
        for_all[goal]()
    else:
        for target in targets:
            for_each[goal](target)


def _chosen_targets(recipe: Recipe, names: Sequence[str] | None) -> list[Target]:
    """The targets asked for, under their profiles' own names, checked against their profiles."""
    asked = {profiles.get(target.target).name: target for target in recipe.targets}
    chosen = asked
    if names:
        wanted = [profiles.get(name).name for name in names]
        chosen = {name: asked.get(name, Target(target=name)) for name in wanted}
    result = []
    for name, target in chosen.items():
        profile = profiles.get(name)
        refuse_unreadable_opset(profile, recipe.export.opset)
        precisions = target.precisions or profile.precisions
        refused = [each for each in precisions if each not in profile.precisions]
        if refused:
            raise RequestError(
                f"The target {name!r} has no {' or '.join(refused)} engines.",
                where="targets.precisions",
                advice=f"It has {', '.join(profile.precisions)}.",
            )
        if not recipe.quantize.enabled:
            precisions = [each for each in precisions if each != "int8"]
        if not precisions:
            raise RequestError(
                f"Nothing is left to build for {name!r}: only INT8 is asked for, and "
                "quantization is switched off.",
                where="quantize.enabled",
                advice="Switch quantization on, or add another precision to the target.",
            )
        result.append(target.model_copy(update={"target": name, "precisions": precisions}))
    return result
