"""The machine that measurements were taken on."""

from __future__ import annotations

import os
import platform

from tmkd_deploy.agent.telemetry import cpu


def machine() -> dict[str, str | int | bool]:
    """Architecture, processor, cores, system, Python and arithmetic, as a record keeps them.

    Of `cpu.arithmetic_support`, only what is known is included.
    """
    known = {name: value for name, value in cpu.arithmetic_support().items() if value is not None}
    return {
        "architecture": platform.machine(),
        "processor": cpu.processor() or platform.processor() or "unknown",
        "cores": os.cpu_count() or 1,
        "system": platform.platform(terse=True),
        "python": platform.python_version(),
        "vnni": "unknown",
        **known,
    }
