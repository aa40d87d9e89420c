"""What figures were measured on."""

from __future__ import annotations

import os
import platform
from pathlib import Path

from tmkd_deploy.runtime.onnxruntime_session import has_vnni, precise_int8_default


def machine() -> dict[str, str | int | bool]:
    """Architecture, processor, cores, system and Python; for ONNX Runtime what it does of INT8."""
    vnni = has_vnni()
    return {
        "architecture": platform.machine(),
        "processor": _processor(),
        "cores": os.cpu_count() or 1,
        "system": platform.platform(terse=True),
        "python": platform.python_version(),
        "vnni": "unknown" if vnni is None else vnni,
        "precise_int8": precise_int8_default(),
    }


def _processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or "unknown"
