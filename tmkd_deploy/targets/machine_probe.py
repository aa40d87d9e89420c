"""What the local machine is, and which targets could be built for or run on it."""

from __future__ import annotations

import csv
import importlib.metadata
import os
import platform
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

from tmkd_deploy.targets import catalog
from tmkd_deploy.targets.target_profile import TargetProfile

# Distributions that bring each runtime; the first one found counts.
RUNTIMES = {
    "onnxruntime": ("onnxruntime", "onnxruntime-gpu"),
    "tensorrt": ("tensorrt", "tensorrt-cu13", "tensorrt-cu12"),
    "tensorrt_rtx": ("tensorrt-rtx-cu13", "tensorrt-rtx-cu12", "tensorrt-rtx"),
}

GPU_FIELDS = ("name", "compute_cap", "memory.total", "driver_version")


def probe() -> dict[str, Any]:
    """Everything known of this machine without importing a runtime; plain JSON values.

    `memory_mb` counts 2^20 bytes; an unknown figure is None. `can_build` and `can_run` name the
    targets whose engines could be built here and run here.
    """
    processor = _processor()
    gpus = _gpus()
    model = board_model()
    runtimes = installed_runtimes()
    profiles = [catalog.get(name) for name in catalog.names()]
    return {
        "architecture": platform.machine(),
        "system": f"{platform.system()} {platform.release()}",
        "processor": processor["model"],
        "cores": os.cpu_count() or 1,
        "memory_mb": _memory_mb(),
        "vnni": processor["vnni"],
        "gpus": gpus,
        "model": model,
        "l4t": _first_line(Path("/etc/nv_tegra_release")),
        "python": platform.python_version(),
        "runtimes": runtimes,
        "can_build": [each.name for each in profiles if _can_build(each, runtimes, model)],
        "can_run": [each.name for each in profiles if _can_run(each, runtimes, gpus, model)],
    }


def installed_runtimes() -> dict[str, str | None]:
    """The version of each engine runtime, read from its metadata; None where it is missing."""
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
    gpus: list[dict[str, str]],
    model: str | None,
) -> bool:
    if runtimes[target.runtime] is None or not is_this(target, model):
        return False
    capabilities = [gpu["compute_capability"] for gpu in gpus]
    return target.build != "ahead_of_time" or target.compute_capability in capabilities


def is_this(target: TargetProfile, model: str | None) -> bool:
    """Whether this machine is a `target`, by its architecture and the model it calls itself."""
    return target.is_machine(platform.machine()) and (
        not target.device_tree or target.describes(model)
    )


def _processor() -> dict[str, Any]:
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        text = ""
    return parse_cpuinfo(text)


def parse_cpuinfo(text: str) -> dict[str, Any]:
    """`model` and `vnni` from the text of /proc/cpuinfo.

    `vnni` says whether 8-bit dot products run without saturating: the VNNI flags of x86 or
    `asimddp` of Arm; None where the text says nothing of flags.
    """
    model = re.search(r"^(?:model name|Model)\s*:\s*(.+)$", text, re.MULTILINE)
    flags = re.search(r"^(?:flags|Features)\s*:\s*(.+)$", text, re.MULTILINE)
    dot_product = {"avx512_vnni", "avx_vnni", "asimddp"}
    return {
        "model": model.group(1).strip() if model else platform.processor() or None,
        "vnni": bool(dot_product & set(flags.group(1).split())) if flags else None,
    }


def _memory_mb() -> int | None:
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2**20
    except (AttributeError, ValueError, OSError):
        return None


def _gpus() -> list[dict[str, str]]:
    command = shutil.which("nvidia-smi")
    if command is None:
        return []
    try:
        answer = subprocess.run(
            [command, f"--query-gpu={','.join(GPU_FIELDS)}", "--format=csv,noheader"],
            capture_output=True,
            text=True,
            timeout=20,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return []
    return parse_gpus(answer.stdout)


def parse_gpus(text: str) -> list[dict[str, str]]:
    """One entry a GPU from nvidia-smi's answer to a query for `GPU_FIELDS`."""
    rows = csv.reader(text.splitlines(), skipinitialspace=True)
    return [
        {
            "name": row[0],
            "compute_capability": f"SM{row[1].replace('.', '')}",
            "memory": row[2],
            "driver": row[3],
        }
        for row in rows
        if len(row) == len(GPU_FIELDS)
    ]


def board_model() -> str | None:
    """What this machine's device tree calls it; None where there is none, as on a PC."""
    return _first_line(Path("/proc/device-tree/model"))


def _first_line(path: Path) -> str | None:
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    return text.strip("\0\n ").partition("\n")[0] or None
