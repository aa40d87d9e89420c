"""What this device is. Nothing here needs numpy, so that its absence can be told."""

from __future__ import annotations

import json
import os
import platform
import re
import shutil
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tmkd_deploy.agent.shell import first_line, output_of, program
from tmkd_deploy.agent.telemetry import conditions, jetson
from tmkd_deploy.agent.telemetry.gpu import gpu_and_driver

if TYPE_CHECKING:
    from tmkd_deploy.agent.transport.context import Context

# Imported in processes of their own: one that is broken may take its process with it.
_VERSION = (
    "import importlib, sys; print('version', importlib.import_module(sys.argv[1]).__version__)"
)
_DLA = (
    "import tensorrt; logger = tensorrt.Logger(tensorrt.Logger.ERROR); "
    "print('version', tensorrt.Builder(logger).num_DLA_cores)"
)


def probe(request: dict[str, Any], context: Context) -> dict[str, Any]:
    """The fields of this device; None for what is missing or cannot be known.

    Memory and disk are in MiB, `time` in seconds since 1970, temperatures in degrees Celsius.
    """
    gpu, driver = gpu_and_driver()
    memory = parse_memory(_text("/proc/meminfo"))
    tensorrt = _module_says(_VERSION, "tensorrt")
    release = jetson.l4t()
    return {
        "machine": platform.machine(),
        "system": parse_system(_text("/etc/os-release")),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "numpy": _module_says(_VERSION, "numpy"),
        "onnxruntime": _module_says(_VERSION, "onnxruntime"),
        "tensorrt": tensorrt,
        "tensorrt_rtx": _module_says(_VERSION, "tensorrt_rtx"),
        "trtexec": _trtexec(),
        "cuda": parse_cuda(_text("/usr/local/cuda/version.json")),
        "driver": driver,
        "jetpack": jetson.jetpack(),
        "l4t": release,
        "model": first_line("/proc/device-tree/model"),
        "processor": parse_processor(_text("/proc/cpuinfo")),
        "vnni": _vnni(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_mb": memory.get("MemTotal"),
        "memory_free_mb": memory.get("MemAvailable"),
        "disk_free_mb": shutil.disk_usage(str(context.folder)).free // 2**20,
        "gpu": gpu,
        "dla_cores": _dla_cores() if release and tensorrt else None,
        "power_mode": jetson.power_mode(),
        **conditions.current(),
        "time": time.time(),
    }


def parse_system(text: str) -> str | None:
    """The name of the system in /etc/os-release."""
    found = re.search(r'^PRETTY_NAME="?([^"\n]+)"?$', text, re.MULTILINE)
    return found.group(1) if found else None


def parse_memory(text: str) -> dict[str, int]:
    """Each entry of /proc/meminfo in MiB."""
    return {
        name: int(size) // 1024
        for name, size in re.findall(r"^(\w+): +(\d+) kB$", text, re.MULTILINE)
    }


def parse_processor(text: str) -> str | None:
    """The processor's name in /proc/cpuinfo."""
    found = re.search(r"^(?:model name|Model)\s*:\s*(.+)$", text, re.MULTILINE)
    return found.group(1).strip() if found else None


def parse_cuda(text: str) -> str | None:
    """The CUDA toolkit's version in its version.json."""
    try:
        return str(json.loads(text)["cuda"]["version"])
    except (ValueError, KeyError, TypeError):
        return None


def parse_trtexec(text: str) -> str | None:
    """TensorRT's version in the first line that trtexec prints, whatever it is asked.

    8.x write v8502 for 8.5.2, 10.x write v100300 for 10.3.0, 11.x write v11.1.0.106.
    """
    found = re.search(r"TensorRT\.trtexec \[TensorRT v([\d.]+)\]", text)
    if found is None:
        return None
    if "." in found.group(1):
        return ".".join(found.group(1).split(".")[:3])
    number = int(found.group(1))
    unit = 10000 if number >= 100000 else 1000
    return f"{number // unit}.{number % unit // 100}.{number % 100}"


def _text(path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def _module_says(code: str, name: str) -> str | None:
    answer = output_of([sys.executable or "python3", "-c", code, name]) or ""
    found = re.search(r"^version (\S+)$", answer, re.MULTILINE)
    return found.group(1) if found else None


def _dla_cores() -> int | None:
    cores = _module_says(_DLA, "")
    return int(cores) if cores else None


def _trtexec() -> dict[str, str | None] | None:
    path = program("trtexec")
    if path is None:
        return None
    said = output_of([path, "--help"], even_if_it_fails=True)
    return {"path": path, "version": parse_trtexec(said or "")}


def _vnni() -> bool | None:
    from tmkd_deploy.runtime.onnxruntime_session import has_vnni

    return has_vnni()
