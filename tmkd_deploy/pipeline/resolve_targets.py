"""From the names of targets to what the stages need to know of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tmkd_deploy.agent.telemetry import cpu
from tmkd_deploy.devices.address import parse
from tmkd_deploy.engines.device_build import tensorrt_release
from tmkd_deploy.engines.registry import runtime
from tmkd_deploy.engines.variants import refuse_unreadable_opset, variants_for
from tmkd_deploy.errors import RequestError
from tmkd_deploy.measure.latency import machine
from tmkd_deploy.pipeline.resolved_target import ResolvedTarget
from tmkd_deploy.pipeline.run_context import RunContext
from tmkd_deploy.recipe.schema import Recipe, Target
from tmkd_deploy.records.types import Precision
from tmkd_deploy.targets import catalog, machine_probe, racing
from tmkd_deploy.targets.racing import Race, installed_on, race
from tmkd_deploy.targets.resolve import require_this_machine, resolve_profile
from tmkd_deploy.targets.target_profile import TargetProfile

_BF16 = " BF16 needs OpenVINO, and an x86 processor that computes in it."


def requested_targets(
    recipe: Recipe, names: Sequence[str] | None, device: str | None
) -> list[Target]:
    """The recipe's targets, or those called `names`, each under the name it was requested by.

    A target that the recipe does not name has no budgets.

    Raises:
        RequestError: a device is given, and more than one target.
    """
    by_profile = {catalog.get(target.target).name: target for target in recipe.targets}
    requested = list(recipe.targets)
    if names:
        profiles = {catalog.get(name).name: name for name in names}
        requested = [
            by_profile.get(profile, Target(target=name)).model_copy(update={"target": name})
            for profile, name in profiles.items()
        ]
    if device is None:
        return requested
    if len(requested) > 1:
        raise RequestError(
            f"--device is for one target, but {len(requested)} are requested.",
            where="--device",
            advice="Name the attached one with --target, or write device: under each target of "
            "the recipe.",
        )
    return [requested[0].model_copy(update={"device": str(parse(device))})]


def resolve_target(target: Target, context: RunContext) -> ResolvedTarget:
    """Look up everything about a target; an attached device is asked what it is.

    With `context.only` no device is contacted.

    Raises:
        RequestError: the target cannot be built as requested, or the device is another one.
        TmkdError: the device cannot be reached.
    """
    profile, info = _profile(target, context)
    recipe = context.recipe
    running = _asked(target, profile) if context.only else race_of(target, profile, info)
    if running.own != profile.runtime:
        profile = profile.model_copy(update={"runtime": running.own, "other_runtimes": []})
    refuse_unreadable_opset(profile, recipe.export.opset)
    refuse_frames_elsewhere(target, profile)
    own = with_own_precisions(profile, running, computes_in_bf16(info))
    # without a look at what there is, what was built before counts
    precisions = precisions_of(target, profile if context.only else own, recipe)
    profile = own
    builds = [each for each in profile.precisions if each in precisions or each != "int8"]
    release = tensorrt_release(info) if info else None
    dla = target.dla_core is not None
    variants = {each: variants_for(profile, each, release, dla) for each in builds}
    engine_runtime = runtime(profile.runtime)
    return ResolvedTarget(
        name=profile.name,
        profile=profile,
        runtime=engine_runtime,
        race=running,
        budgets=target.budgets,
        precisions=precisions,
        variants={name: found[0] for name, found in variants.items()},
        older_variants={name: found[1] for name, found in variants.items() if len(found) > 1},
        device=target.device,
        dla_core=target.dla_core,
        machine=_machine(target, context, running),
        compares_post_training=bool(
            recipe.quantize.enabled
            and recipe.quantize.compare
            and engine_runtime.name == "onnxruntime"
        ),
        despite_verdict=target.despite_verdict,
        prefer=target.prefer,
        frame=target.frame_size,
        has_teacher=not recipe.model_is_given,
    )


def _profile(target: Target, context: RunContext) -> tuple[TargetProfile, dict[str, Any] | None]:
    """The profile, and what the attached device says of itself."""
    if context.only:
        return catalog.get(target.target), None
    info = context.devices.info(target.device) if target.device else None
    name, reason = resolve_profile(target.target, info)
    if reason:
        context.events.say(reason)
    profile = catalog.get(name)
    if info is None:
        require_this_machine(profile)
    return profile, info


def computes_in_bf16(info: dict[str, Any] | None) -> bool | None:
    """Whether the device with this `info` computes in BF16, or this machine; None if unknown."""
    support: dict[str, Any] = cpu.arithmetic_support() if info is None else info
    found: bool | None = support["bf16"]
    return found


def with_own_precisions(profile: TargetProfile, running: Race, bf16: bool | None) -> TargetProfile:
    """The profile with those precisions that a runtime of the race computes in there."""
    own = racing.precisions_of(profile, running.runtimes, bf16)
    return profile.model_copy(update={"precisions": own})


def precisions_of(target: Target, profile: TargetProfile, recipe: Recipe) -> list[Precision]:
    """The engines that may ship to a target, the preferred one first.

    Raises:
        RequestError: the target has no such engines, or none is left to build.
    """
    precisions = list(target.precisions or profile.precisions)
    unknown = [each for each in precisions if each not in profile.precisions]
    if unknown:
        raise RequestError(
            f"The target {profile.name!r} has no {' or '.join(unknown)} engines.",
            where="targets.precisions",
            advice=f"It has {', '.join(profile.precisions)}.{_BF16 if 'bf16' in unknown else ''}",
        )
    if not recipe.quantize.enabled:
        precisions = [each for each in precisions if each != "int8"]
    if not precisions:
        raise RequestError(
            f"There is nothing to build for {profile.name!r}: it is limited to INT8, and "
            "quantization is switched off.",
            where="quantize.enabled",
            advice="Switch quantization on, or add another precision to the target.",
        )
    return precisions


def race_of(target: Target, profile: TargetProfile, info: dict[str, Any] | None) -> Race:
    """The runtimes that race on a target: on the device with this `info`, or on this machine.

    Raises:
        RequestError, EnvironmentProblem: as `targets.racing.race`.
    """
    if info is None:
        installed = machine_probe.installed_runtimes()
        return race(profile, target.runtimes, installed)
    installed = installed_on(info, profile)
    return race(profile, target.runtimes, installed, info["pip"])


def _asked(target: Target, profile: TargetProfile) -> Race:
    """The race as the recipe has it, without a look at what is installed."""
    known = [profile.runtime, *profile.other_runtimes]
    return race(profile, target.runtimes, dict.fromkeys(known, "unknown"))


def refuse_frames_elsewhere(target: Target, profile: TargetProfile) -> None:
    """Refuse to time frames on a device, which need not have the Python runtime.

    Raises:
        RequestError: the target has a frame, and its engines do not run on this machine.
    """
    if target.frame and (target.device or not runtime(profile.runtime).runs_here):
        raise RequestError(
            f"Frames are timed on this machine only, and the engines of {target.target!r} run "
            "elsewhere.",
            where=f"targets.{target.target}.frame",
            advice="Remove `frame` and the budgets on it. To time frames on a device, run the "
            "recipe there, or the example camera_loop of the C++ runtime.",
        )


def _machine(target: Target, context: RunContext, running: Race) -> dict[str, Any] | None:
    if context.only:
        return None
    if target.device:
        return context.devices.identity(target.device)
    if not runtime(running.own).runs_here:
        return None
    # an engine that is an ONNX file is the same file after its runtime was upgraded
    installed = machine_probe.installed_runtimes()
    return {**machine(), "runtimes": {name: installed[name] for name in running.runtimes}}
