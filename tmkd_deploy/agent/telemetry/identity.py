"""What an engine is tied to: the device, its software and its power mode."""

from __future__ import annotations

import platform
from pathlib import Path
from typing import Any

from tmkd_deploy.agent.telemetry import cpu, jetson, versions
from tmkd_deploy.agent.telemetry.gpu import gpu_and_driver
from tmkd_deploy.agent.telemetry.system_files import first_line, text


def board_model() -> str | None:
    """The board's name in the device tree; None where there is no device tree, as on a PC."""
    return first_line(Path("/proc/device-tree/model"))


def compatible() -> list[str]:
    """What the device tree says the board is compatible with, the most specific first.

    On a Jetson, such as "nvidia,p3768-0000+p3767-0005": the numbers of carrier and module.
    """
    return [each for each in (text(Path("/proc/device-tree/compatible")) or "").split("\0") if each]


def engine_identity(runtime_version: str, compute_capability: str | None) -> dict[str, Any]:
    """`device`, `versions` and `power_mode` for an engine's manifest; None for what is unknown.

    `compute_capability`, such as SM89, is given when building for a GPU that is not in this device;
    the manifest then names no particular GPU.
    """
    gpu, driver = gpu_and_driver()
    target: dict[str, Any] = {"sm": compute_capability} if compute_capability else gpu or {}
    return {
        "device": {
            "model": board_model(),
            "machine": platform.machine(),
            "processor": cpu.processor(),
            "gpu": target.get("name"),
            "uuid": target.get("uuid"),
            "sm": target.get("sm"),
        },
        "versions": {
            "runtime": runtime_version,
            "cuda": versions.cuda(),
            "driver": driver,
            "jetpack": jetson.jetpack(),
            "l4t": jetson.l4t(),
            "kernel": platform.release(),
        },
        "power_mode": jetson.power_mode(),
    }
