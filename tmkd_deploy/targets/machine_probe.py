"""What this machine is, and which targets can be built and run on it."""

from __future__ import annotations

import importlib.metadata
import os
import platform
from typing import Any

from tmkd_deploy.agent.telemetry import cpu, jetson, system_files
from tmkd_deploy.agent.telemetry.gpu import gpus
from tmkd_deploy.agent.telemetry.identity import board_model, compatible
from tmkd_deploy.targets import catalog
from tmkd_deploy.targets.target_profile import TargetProfile

# The distributions that provide each runtime; the first one installed counts.
RUNTIMES = {
    "onnxruntime": ("onnxruntime", "onnxruntime-gpu"),
    "openvino": ("openvino",),
    "tensorrt": ("tensorrt", "tensorrt-cu13", "tensorrt-cu12"),
    "tensorrt_rtx": ("tensorrt-rtx-cu13", "tensorrt-rtx-cu12", "tensorrt-rtx"),
}


def probe() -> dict[str, Any]:
    """Everything known of this machine without importing a runtime, as JSON values.

    Memory is in MiB; None stands for what is unknown. `can_build` and `can_run` name the targets
    whose engines can be built and run here.
    """
    found = gpus()
    model = board_model()
    runtimes = installed_runtimes()
    profiles = [catalog.get(name) for name in catalog.names()]
    return {
        "architecture": platform.machine(),
        "system": f"{platform.system()} {platform.release()}",
        "processor": cpu.processor() or platform.processor() or None,
        "cores": os.cpu_count() or 1,
        "memory_mb": system_files.memory_mb().get("MemTotal"),
        **cpu.arithmetic_support(),
        "gpus": [_described(each) for each in found],
        "model": model,
        "l4t": jetson.l4t(),
        "python": platform.python_version(),
        "runtimes": runtimes,
        "can_build": [each.name for each in profiles if _can_build(each, runtimes, model)],
        "can_run": [each.name for each in profiles if _can_run(each, runtimes, found, model)],
    }


def installed_runtimes() -> dict[str, str | None]:
    """The version of each engine runtime, from its package metadata; None if it is missing."""
    return {name: _first_version(candidates) for name, candidates in RUNTIMES.items()}


def _first_version(distributions: tuple[str, ...]) -> str | None:
    for distribution in distributions:
        try:
            return importlib.metadata.version(distribution)
        except importlib.metadata.PackageNotFoundError:
            continue
    return None


def _can_build(target: TargetProfile, runtimes: dict[str, str | None], model: str | None) -> bool:
    return runtimes[target.runtime] is not None and (
        target.build == "ahead_of_time" or is_this(target, model)
    )


def _can_run(
    target: TargetProfile,
    runtimes: dict[str, str | None],
    found: list[dict[str, Any]],
    model: str | None,
) -> bool:
    if runtimes[target.runtime] is None or not is_this(target, model):
        return False
    capabilities = [_capability(gpu) for gpu in found]
    return target.build != "ahead_of_time" or target.compute_capability in capabilities


def is_this(target: TargetProfile, model: str | None) -> bool:
    """Whether this machine is a `target`: by its architecture, and its board's model or module."""
    return target.is_machine(platform.machine()) and (
        not target.device_tree
        or target.describes(model)
        or any(target.has_module(entry) for entry in compatible()[:1])
    )


def _described(gpu: dict[str, Any]) -> dict[str, Any]:
    return {
        "name": gpu["name"],
        "compute_capability": _capability(gpu),
        "memory_mb": gpu["memory_mb"],
        "driver": gpu["driver"],
    }


def _capability(gpu: dict[str, Any]) -> str | None:
    return f"SM{gpu['sm']}" if gpu["sm"] else None
