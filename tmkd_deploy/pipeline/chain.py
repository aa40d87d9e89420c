"""Reaching a goal in a run folder: the targets, the lock, and the outcome."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

from tmkd_deploy import artifacts
from tmkd_deploy.artifacts import Record
from tmkd_deploy.devices.address import parse
from tmkd_deploy.engines.variants import refuse_unreadable_opset
from tmkd_deploy.errors import ExitCode, RequestError, from_os_error
from tmkd_deploy.events import Events, SilentEvents
from tmkd_deploy.pipeline.at_once import at_once
from tmkd_deploy.pipeline.company import Alone, company
from tmkd_deploy.pipeline.deployment import Deployment
from tmkd_deploy.pipeline.fallback import settle
from tmkd_deploy.pipeline.lock import only_process_in
from tmkd_deploy.pipeline.reach import Reach
from tmkd_deploy.pipeline.stage import Runner, StageResult
from tmkd_deploy.pipeline.training import Training
from tmkd_deploy.recipe.schema import Recipe, Target
from tmkd_deploy.targets import catalog as profiles
from tmkd_deploy.targets.resolve import pick, refuse_elsewhere

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
_DEVICE_GOALS = GOALS[GOALS.index("build") :]
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

    def record(self, stage: str, target: str | None = None) -> Record:
        """What `stage` recorded, for `target` where it works for one."""
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
    """Reach `goal`, running the stages before it that are not fresh.

    Args:
        runs: holds the run folder, `runs/<recipe.name>`.
        targets: names of targets, or None for all of the recipe; one that the recipe does not
            name is added without budgets.
        device: address of the device that the one target asked for is attached to; None leaves it
            to the recipe.
        force: run the goal's own stage although it is fresh.
        only: run the goal's own stage alone, on what the run folder holds, fresh or stale.
    """
    asked = _asked_targets(recipe, targets, device)
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
                chosen = [_chosen(target, reach) for target in asked]
                if _seeks_layers(recipe, goal):
                    first = _asked_targets(recipe, None, None)[0]
                    reach.recipe = settle(reach, _chosen(first, reach))
                _go(goal, Training(reach), chosen)
        except OSError as error:
            raise from_os_error(error) from error
    return RunResult(folder, runner.results, reach.exit_code(), together.leads)


def _seeks_layers(recipe: Recipe, goal: str) -> bool:
    return (
        recipe.quantize.enabled
        and recipe.quantize.mixed_precision_trials > 0
        and goal in _QUANTIZED_GOALS
    )


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
        "weigh": lambda: training.view_scores,
        "distill": lambda: training.student,
        "sensitivity": lambda: training.sensitivity,
        "quantize": lambda: training.quantized,
        "report": lambda: deployment.report(targets),
    }
    for_each: dict[str, Callable[[Target], object]] = {
        "export": deployment.exports.onnx,
        "build": deployment.engines,
        "measure": deployment.measured,
        "gate": deployment.judged,
        "bundle": deployment.bundled,
    }
    if not runner.only:
        _use_devices(goal, deployment, targets)
    if goal in for_all:
        for_all[goal]()
    else:
        for target in targets:
            for_each[goal](target)


def _use_devices(goal: str, deployment: Deployment, targets: list[Target]) -> None:
    """Build or measure on all attached devices at the same time; one device after another's work
    would keep all but one of them waiting."""
    if goal not in _DEVICE_GOALS:
        return
    attached: dict[str, list[Target]] = {}
    for target in targets:
        if target.device:
            attached.setdefault(target.device, []).append(target)
    if len(attached) < 2:
        return
    # what this machine makes for them is made before, in turn
    deployment.training.all_models()
    for target in itertools.chain.from_iterable(attached.values()):
        deployment.exports.onnx(target)
        deployment.exports.compared(target)
    work = deployment.engines if goal == "build" else deployment.measured

    def use(device: str) -> None:
        for target in attached[device]:
            work(target)

    at_once([functools.partial(use, device) for device in attached])


def _asked_targets(recipe: Recipe, names: Sequence[str] | None, device: str | None) -> list[Target]:
    """The targets asked for, under the names by which they were."""
    asked = {profiles.get(target.target).name: target for target in recipe.targets}
    chosen = list(recipe.targets)
    if names:
        known = {profiles.get(name).name: name for name in names}
        chosen = [
            asked.get(profile, Target(target=name)).model_copy(update={"target": name})
            for profile, name in known.items()
        ]
    if device is None:
        return chosen
    if len(chosen) > 1:
        raise RequestError(
            f"A device is one target, and {len(chosen)} are asked for.",
            where="--device",
            advice="Name the one that is attached with --target, or write device: under each "
            "target of the recipe.",
        )
    return [chosen[0].model_copy(update={"device": str(parse(device))})]


def _chosen(target: Target, reach: Reach) -> Target:
    """A target under its profile's own name, checked against it and against its device."""
    recipe = reach.recipe
    if reach.runner.only:
        name = profiles.get(target.target).name
    else:
        record = reach.attached.facts(target.device) if target.device else None
        name, why = pick(target.target, record)
        if why:
            reach.events.say(why)
        if record is None:
            refuse_elsewhere(profiles.get(name))
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
    return target.model_copy(update={"target": name, "precisions": precisions})
