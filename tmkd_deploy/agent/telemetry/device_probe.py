"""The `probe` request: what this device is. Nothing here needs numpy, which may be missing."""

from __future__ import annotations

import os
import platform
import shutil
import time
from typing import TYPE_CHECKING, Any

from tmkd_deploy.agent.telemetry import conditions, cpu, jetson, system_files, versions
from tmkd_deploy.agent.telemetry.gpu import gpu_and_driver
from tmkd_deploy.agent.telemetry.identity import board_model, compatible
from tmkd_deploy.runtime import gpu_access

if TYPE_CHECKING:
    from tmkd_deploy.agent.transport.context import Context

_MODULES = ("numpy", "onnxruntime", "openvino", "tensorrt", "tensorrt_rtx")


def probe(request: dict[str, Any], context: Context) -> dict[str, Any]:
    """The device info; None for whatever is missing or unknown.

    `import_errors` says of each module that is installed, but cannot be imported, why not.

    Memory and disk are in MiB, `time` in seconds since 1970, temperatures in degrees Celsius.
    """
    gpu, driver = gpu_and_driver()
    memory = system_files.memory_mb()
    modules = {name: versions.module(name) for name in _MODULES}
    release = jetson.l4t()
    return {
        "machine": platform.machine(),
        "system": versions.system(),
        "kernel": platform.release(),
        "python": platform.python_version(),
        **{name: module.version for name, module in modules.items()},
        "tensorrt_file": modules["tensorrt"].file,
        "import_errors": {
            name: module.problem for name, module in modules.items() if module.problem
        },
        "pip": versions.pip(),
        "trtexec": versions.trtexec(),
        "cuda": versions.cuda(),
        "driver": driver,
        "jetpack": jetson.jetpack(),
        "l4t": release,
        "model": board_model(),
        "compatible": compatible(),
        "processor": cpu.processor(),
        **cpu.arithmetic_support(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_mb": memory.get("MemTotal"),
        "memory_free_mb": memory.get("MemAvailable"),
        "disk_free_mb": shutil.disk_usage(str(context.folder)).free // 2**20,
        "gpu": gpu,
        "gpu_denied": gpu_access.denied(),
        "cuda_error": gpu_access.cuda_error(),
        "dla_cores": versions.dla_cores() if release and modules["tensorrt"].version else None,
        "power_mode": jetson.power_mode(),
        **conditions.current(),
        "time": time.time(),
    }
