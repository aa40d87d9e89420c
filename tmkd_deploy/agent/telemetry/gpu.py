"""The GPU, asked of nvidia-smi and, where that is missing or says little, of the CUDA driver.

The answers of nvidia-smi are tested on output that others published; the driver's functions were
not run on a GPU in this project.
Source: https://docs.nvidia.com/cuda/cuda-driver-api/group__CUDA__DEVICE.html
"""

from __future__ import annotations

import csv
import ctypes
import uuid
from typing import Any

from tmkd_deploy.agent.shell import first_line, output_of

_FIELDS = ("name", "compute_cap", "uuid", "memory.total", "driver_version")
_MAJOR, _MINOR = 75, 76  # CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR and _MINOR
_MISSING = ("", "[N/A]", "N/A", "[Not Supported]")


def gpu_and_driver() -> tuple[dict[str, Any] | None, str | None]:
    """The first GPU, {"name", "sm", "uuid", "memory_mb"}, and the version of its driver.

    `sm` is the compute capability without its point: "87" for an Orin.
    """
    query = ["nvidia-smi", f"--query-gpu={','.join(_FIELDS)}", "--format=csv,noheader,nounits"]
    gpu, driver = parse_smi(output_of(query) or "")
    if gpu is None or None in gpu.values():
        asked = _ask_driver()
        if gpu is None or asked is None:
            gpu = gpu or asked
        else:
            gpu = {name: asked[name] if value is None else value for name, value in gpu.items()}
    return gpu, driver or parse_driver(first_line("/proc/driver/nvidia/version") or "")


def parse_smi(text: str) -> tuple[dict[str, Any] | None, str | None]:
    """The first GPU and the driver in nvidia-smi's answer to a query for our fields."""
    for row in csv.reader(text.splitlines(), skipinitialspace=True):
        if len(row) != len(_FIELDS):
            continue
        name, capability, identity, memory, driver = (
            None if value.strip() in _MISSING else value.strip() for value in row
        )
        gpu = {
            "name": name,
            "sm": capability.replace(".", "") if capability else None,
            "uuid": identity,
            "memory_mb": int(memory) if memory and memory.isdigit() else None,
        }
        return gpu, driver
    return None, None


def parse_driver(text: str) -> str | None:
    """The driver's version in the first line of /proc/driver/nvidia/version."""
    words = text.split()
    return next((word for word in words if word[0].isdigit() and "." in word), None)


def _ask_driver() -> dict[str, Any] | None:
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
