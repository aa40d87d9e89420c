"""How many cores this process may use."""

from __future__ import annotations

import os


def available_cores() -> int:
    """The cores that the process is not kept off, as by `taskset` or a cluster's scheduler."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
