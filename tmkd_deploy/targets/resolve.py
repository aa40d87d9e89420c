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
    """The profile of a device: its board's or, failing that, its processor's."""
    targets = [catalog.get(name) for name in catalog.names()]
    boards = [each for each in targets if each.describes(info["model"])]
    if not boards:
        boards = [
            catalog.get(name)
            for name in ("cpu-x86", "cpu-arm64")
            if catalog.get(name).is_machine(info["machine"])
        ]
    return boards[0].name if boards else None


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
    described = profile_of(info)
    if described and catalog.get(described).runtime == default.runtime:
        return described, f"The device is a {info['model']}: {name} stands for {described}."
    matching = [
        each
        for each in (catalog.get(other) for other in catalog.names())
        if each.runtime == default.runtime and _capability(info) == each.compute_capability
    ]
    if not matching:
        raise EnvironmentProblem(
            f"{name!r} stands for no profile of the attached device: its model is "
            f"{info['model'] or 'unknown'} and its GPU is {_capability(info) or 'unknown'}.",
            advice="Choose another target, or write a custom profile: docs/reference/targets.md.",
        )
    smallest = min(matching, key=lambda each: (each.memory_mb or 0, each.name))
    return smallest.name, (
        f"No profile matches the device's model ({info['model'] or 'unknown'}). Its GPU is "
        f"{_capability(info)}: {name} stands for {smallest.name}, the smallest with that GPU."
    )


def _contradiction(target: TargetProfile, info: dict[str, Any]) -> str | None:
    if not target.is_machine(info["machine"]):
        return f"it is {info['machine']}, not {target.machine}"
    boards = [each for each in catalog.names() if catalog.get(each).describes(info["model"])]
    if target.device_tree and boards and target.name not in boards:
        return f"its model is {info['model']}"
    capability = _capability(info)
    if target.compute_capability and capability and capability != target.compute_capability:
        return f"its GPU is {capability}, not {target.compute_capability}"
    return None


def _capability(info: dict[str, Any]) -> str | None:
    sm = (info["gpu"] or {}).get("sm")
    return f"SM{sm}" if sm else None
