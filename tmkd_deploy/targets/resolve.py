"""Which profile a target's name stands for once the attached device has spoken."""

from __future__ import annotations

from typing import Any

from tmkd_deploy.agent.telemetry.identity import board_model
from tmkd_deploy.errors import EnvironmentProblem, RequestError
from tmkd_deploy.targets import catalog, machine_probe
from tmkd_deploy.targets.target_profile import TargetProfile


def resolve_profile(name: str, info: dict[str, Any] | None) -> tuple[str, str]:
    """The name of the profile that `name` stands for, and a sentence that says why.

    `info` are the agent's `probe` of the attached device, None where none is attached. The
    sentence is empty where there was nothing to choose or assume.

    Raises:
        RequestError: there is no such target, or the device is another one.
        EnvironmentProblem: `name` is an alias and the device fits none of what it stands for.
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
            f"The target is {target.name!r}, and the attached device is another one: "
            f"{contradiction}.",
            advice=f"Choose the target {described!r}, or attach the other device."
            if described
            else "Attach the other device.",
        )
    return target.name, ""


def refuse_elsewhere(target: TargetProfile) -> None:
    """Refuse a target whose engines are built where they run, and which this machine is not.

    Raises:
        RequestError: as said; without this, another machine's name would stand over our times.
    """
    if target.build == "here" and not machine_probe.is_this(target, board_model()):
        raise RequestError(
            f"The target {target.name!r} runs on {target.title}, and this machine is another one.",
            advice="Attach it with --device, or choose the target 'cpu' for this machine.",
        )


def profile_of(info: dict[str, Any]) -> str | None:
    """The profile that describes a device: its board's, or else its processor's."""
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
    assumed = f"JetPack {target.software[0].jetpack} is assumed on it"
    if name == target.name:
        return target.name, f"No device is attached for {name}; {assumed}."
    return target.name, f"No device is attached: {name} stands for {target.name}, and {assumed}."


def _by_device(name: str, info: dict[str, Any]) -> tuple[str, str]:
    default = catalog.get(name)
    described = profile_of(info)
    if described and catalog.get(described).runtime == default.runtime:
        return described, f"The device is a {info['model']}: {name} stands for {described}."
    alike = [
        each
        for each in (catalog.get(other) for other in catalog.names())
        if each.runtime == default.runtime and _capability(info) == each.compute_capability
    ]
    if not alike:
        raise EnvironmentProblem(
            f"The attached device is none that {name!r} stands for: it calls itself "
            f"{info['model'] or 'nothing'}, and its GPU is {_capability(info) or 'unknown'}.",
            advice="Choose another target, or write your own profile: docs/reference/targets.md.",
        )
    smallest = min(alike, key=lambda each: (each.memory_mb or 0, each.name))
    return smallest.name, (
        f"The device calls itself {info['model'] or 'nothing'}, which no profile knows; its GPU "
        f"is {_capability(info)}: {name} stands for {smallest.name}, the smallest with that."
    )


def _contradiction(target: TargetProfile, info: dict[str, Any]) -> str | None:
    if not target.is_machine(info["machine"]):
        return f"it is {info['machine']}, not {target.machine}"
    boards = [each for each in catalog.names() if catalog.get(each).describes(info["model"])]
    if target.device_tree and boards and target.name not in boards:
        return f"it calls itself {info['model']}"
    capability = _capability(info)
    if target.compute_capability and capability and capability != target.compute_capability:
        return f"its GPU is {capability}, not {target.compute_capability}"
    return None


def _capability(info: dict[str, Any]) -> str | None:
    sm = (info["gpu"] or {}).get("sm")
    return f"SM{sm}" if sm else None
