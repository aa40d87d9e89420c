"""The GPUs, as nvidia-smi reports them and, where it is missing or incomplete, the CUDA driver.

The parsing of nvidia-smi is tested on published output. The calls to the driver are untested on a
real GPU.
Source: https://docs.nvidia.com/cuda/cuda-driver-api/group__CUDA__DEVICE.html
"""

from __future__ import annotations

import csv
import ctypes
import uuid
from pathlib import Path
from typing import Any

from tmkd_deploy.agent.shell import output_of
from tmkd_deploy.agent.telemetry.system_files import first_line

_FIELDS = ("name", "compute_cap", "uuid", "memory.total", "driver_version")
_MAJOR, _MINOR = 75, 76  # CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR and _MINOR
_MISSING = ("", "[N/A]", "N/A", "[Not Supported]")


def gpus() -> list[dict[str, Any]]:
    """Every GPU: {"name", "sm", "uuid", "memory_mb", "driver"}; None for what is unknown.

    `sm` is the compute capability without its dot: "87" for an Orin.
    """
    query = ["nvidia-smi", f"--query-gpu={','.join(_FIELDS)}", "--format=csv,noheader,nounits"]
    found = parse_smi(output_of(query) or "")
    if not found or None in found[0].values():
        first = _completed(found[0] if found else None)
        found[:1] = [first] if first else []
    return found


def gpu_and_driver() -> tuple[dict[str, Any] | None, str | None]:
    """The first GPU, without its driver, and the driver's version."""
    found = gpus()
    if not found:
        return None, _driver_version()
    gpu = dict(found[0])
    driver = gpu.pop("driver")
    return gpu, driver


def parse_smi(text: str) -> list[dict[str, Any]]:
    """The GPUs in nvidia-smi's answer to a query for `_FIELDS`."""
    found = []
    for row in csv.reader(text.splitlines(), skipinitialspace=True):
        if len(row) != len(_FIELDS):
            continue
        name, capability, identity, memory, driver = (
            None if value.strip() in _MISSING else value.strip() for value in row
        )
        found.append(
            {
                "name": name,
                "sm": capability.replace(".", "") if capability else None,
                "uuid": identity,
                "memory_mb": int(memory) if memory and memory.isdigit() else None,
                "driver": driver,
            }
        )
    return found


def parse_driver(text: str) -> str | None:
    """The driver's version in the first line of /proc/driver/nvidia/version."""
    words = text.split()
    return next((word for word in words if word[0].isdigit() and "." in word), None)


def _completed(gpu: dict[str, Any] | None) -> dict[str, Any] | None:
    """What nvidia-smi reported of a GPU, if anything, with the gaps filled from the driver."""
    queried = _query_driver()
    if gpu is None and queried is None:
        return None
    names = ("name", "sm", "uuid", "memory_mb", "driver")
    reported = {name: value for name, value in (gpu or {}).items() if value is not None}
    completed: dict[str, Any] = {**dict.fromkeys(names), **(queried or {}), **reported}
    return {**completed, "driver": completed["driver"] or _driver_version()}


def _driver_version() -> str | None:
    return parse_driver(first_line(Path("/proc/driver/nvidia/version")) or "")


def _query_driver() -> dict[str, Any] | None:
    try:
        cuda = ctypes.CDLL("libcuda.so.1")
    except OSError:
        return None
    device, major, minor = ctypes.c_int(), ctypes.c_int(), ctypes.c_int()
    memory, name, identity = (
        ctypes.c_size_t(),
        ctypes.create_string_buffer(256),
        (ctypes.c_ubyte * 16)(),
    )
    failed = (
        cuda.cuInit(0)
        or cuda.cuDeviceGet(ctypes.byref(device), 0)
        or cuda.cuDeviceGetName(name, len(name), device)
        or cuda.cuDeviceGetAttribute(ctypes.byref(major), _MAJOR, device)
        or cuda.cuDeviceGetAttribute(ctypes.byref(minor), _MINOR, device)
        or cuda.cuDeviceTotalMem_v2(ctypes.byref(memory), device)
        or cuda.cuDeviceGetUuid(identity, device)
    )
    if failed:
        return None
    return {
        "name": name.value.decode("utf-8", "replace"),
        "sm": f"{major.value}{minor.value}",
        "uuid": f"GPU-{uuid.UUID(bytes=bytes(identity))}",
        "memory_mb": memory.value // 2**20,
    }
