"""Which profile a target's name stands for, given the attached device."""

from __future__ import annotations

from typing import Any

from tmkd_deploy.agent.telemetry.identity import board_model
from tmkd_deploy.errors import EnvironmentProblem, RequestError
from tmkd_deploy.targets import catalog, machine_probe
from tmkd_deploy.targets.target_profile import TargetProfile


def resolve_profile(name: str, info: dict[str, Any] | None) -> tuple[str, str]:
    """The name of the profile that `name` stands for, and a sentence that explains the choice.

    `info` is the device info of the attached device, None without one. The sentence is empty if
    nothing had to be chosen or assumed.

    Raises:
        RequestError: there is no such target, or the attached device is a different one.
        EnvironmentProblem: `name` is an alias, and the device matches none of its profiles.
    """
    if info is None:
        return _unattached(name)
    if name in catalog.aliases():
        return _by_device(name, info)
    target = catalog.get(name)
    contradiction = _contradiction(target, info)
    if contradiction:
        described = profile_of(info)
        raise RequestError(
            f"The attached device is not the target {target.name!r}: {contradiction}.",
            advice=f"Choose the target {described!r}, or attach a {target.name}."
            if described
            else f"Attach a {target.name}.",
        )
    return target.name, ""


def require_this_machine(target: TargetProfile) -> None:
    """Refuse a target that is built where it runs, unless it is this machine.

    Raises:
        RequestError: this machine is not the target; its times must not appear under that name.
    """
    if target.build == "here" and not machine_probe.is_this(target, board_model()):
        raise RequestError(
            f"The target {target.name!r} runs on another machine: {target.title}.",
            advice="Attach one with --device, or choose the target 'cpu' for this machine.",
        )


def profile_of(info: dict[str, Any]) -> str | None:
    """The profile of a device: of its board, of its GPU if it is a Jetson, or of its processor.

    For a Jetson with neither a known model nor module, it is the smallest with its GPU, so that
    what is built for it fits; the smallest Orin if CUDA does not tell its GPU.
    """
    boards = _boards(info)
    if boards:
        return boards[0].name
    if info["l4t"] is not None:
        if _capability(info) is None:
            return catalog.canonical("jetson")
        matching = _with_gpu(info, "tensorrt")
        if matching:
            return matching[0].name
    processors = (catalog.get(name) for name in ("cpu-x86", "cpu-arm64"))
    return next((each.name for each in processors if each.is_machine(info["machine"])), None)


def _boards(info: dict[str, Any]) -> list[TargetProfile]:
    """The profiles that a device's tree names: by its model or, failing that, by its module."""
    targets = [catalog.get(name) for name in catalog.names()]
    named = [each for each in targets if each.describes(info["model"])]
    if named:
        return named
    # entries go from the most specific to the most general, which other modules may share
    for entry in info["compatible"] or ():
        numbered = [each for each in targets if each.has_module(entry)]
        if numbered:
            return numbered
    return []


def _with_gpu(info: dict[str, Any], runtime: str) -> list[TargetProfile]:
    """The profiles of a runtime with the device's GPU, from the smallest memory on."""
    targets = [catalog.get(name) for name in catalog.names()]
    matching = [
        each
        for each in targets
        if each.runtime == runtime and _capability(info) == each.compute_capability
    ]
    return sorted(matching, key=lambda each: (each.memory_mb or 0, each.name))


def _unattached(name: str) -> tuple[str, str]:
    target = catalog.get(name)
    if not target.software:
        return target.name, ""
    assumed = f"assuming JetPack {target.software[0].jetpack}"
    if name == target.name:
        return target.name, f"No device is attached for {name}; {assumed}."
    return target.name, f"No device is attached: {name} stands for {target.name}, {assumed}."


def _by_device(name: str, info: dict[str, Any]) -> tuple[str, str]:
    default = catalog.get(name)
    boards = [each for each in _boards(info) if each.runtime == default.runtime]
    if boards:
        found = boards[0].name
        return found, f"The device is a {info['model']}: {name} stands for {found}."
    matching = _with_gpu(info, default.runtime)
    if not matching:
        raise EnvironmentProblem(
            f"{name!r} stands for no profile of the attached device: its model is "
            f"{info['model'] or 'unknown'} and its GPU is {_capability(info) or 'unknown'}.",
            advice="Choose another target, or write a custom profile: docs/reference/targets.md.",
        )
    return matching[0].name, (
        f"No profile matches the device's model ({info['model'] or 'unknown'}). Its GPU is "
        f"{_capability(info)}: {name} stands for {matching[0].name}, the smallest with that GPU."
    )


def _contradiction(target: TargetProfile, info: dict[str, Any]) -> str | None:
    if not target.is_machine(info["machine"]):
        return f"it is {info['machine']}, not {target.machine}"
    boards = [each.name for each in _boards(info)]
    if target.device_tree and boards and target.name not in boards:
        return f"its model is {info['model']}, a {catalog.get(boards[0]).title}"
    capability = _capability(info)
    if target.compute_capability and capability and capability != target.compute_capability:
        return f"its GPU is {capability}, not {target.compute_capability}"
    return None


def _capability(info: dict[str, Any]) -> str | None:
    sm = (info["gpu"] or {}).get("sm")
    return f"SM{sm}" if sm else None
