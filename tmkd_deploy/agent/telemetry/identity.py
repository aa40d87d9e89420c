"""What an engine is tied to: the device, its software, its power mode; a part of all its fields."""

from __future__ import annotations

import platform
from pathlib import Path
from typing import Any

from tmkd_deploy.agent.shell import first_line
from tmkd_deploy.agent.telemetry import jetson
from tmkd_deploy.agent.telemetry.device_probe import parse_cuda, parse_processor
from tmkd_deploy.agent.telemetry.gpu import gpu_and_driver

_CUDA = Path("/usr/local/cuda/version.json")


def identity(release: str, compute_capability: str | None) -> dict[str, Any]:
    """`device`, `versions` and `power_mode` for an engine's manifest; None for what is unknown.

    `release` is the runtime's version. `compute_capability`, such as SM89, is that of another GPU
    to build for; which GPU that will be is then unknown.
    """
    gpu, driver = gpu_and_driver()
    meant: dict[str, Any] = {"sm": compute_capability} if compute_capability else gpu or {}
    return {
        "device": {
            "model": first_line("/proc/device-tree/model"),
            "machine": platform.machine(),
            "processor": parse_processor(Path("/proc/cpuinfo").read_text(errors="replace")),
            "gpu": meant.get("name"),
            "uuid": meant.get("uuid"),
            "sm": meant.get("sm"),
        },
        "versions": {
            "runtime": release,
            "cuda": parse_cuda(_CUDA.read_text(errors="replace")) if _CUDA.is_file() else None,
            "driver": driver,
            "jetpack": jetson.jetpack(),
            "l4t": jetson.l4t(),
            "kernel": platform.release(),
        },
        "power_mode": jetson.power_mode(),
    }
