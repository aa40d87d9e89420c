"""Whether this account may use the GPU.

On a Jetson, the GPU's device files belong to the group `video` (or `render`). Outside of it, CUDA
does not start (cuInit gives 999): https://github.com/NVIDIA/NemoClaw/pull/5018, of an Orin.
"""

from __future__ import annotations

import ctypes
import os
from pathlib import Path

# of a Jetson, then of other machines
_FILES = ("nvmap", "nvgpu/igpu0/ctrl", "nvhost-ctrl-gpu", "nvidiactl", "nvidia0")
ALLOW = "sudo usermod -aG video,render ACCOUNT, with the account's name; then connect again"


def denied(root: Path = Path("/")) -> dict[str, str] | None:
    """The first device file of the GPU that this account may not open, {"path", "group"}."""
    for name in _FILES:
        path = root / "dev" / name
        if path.exists() and not os.access(str(path), os.R_OK | os.W_OK, effective_ids=True):
            return {"path": str(path), "group": _group(path)}
    return None


def cuda_error() -> int | None:
    """The error with which CUDA refuses to start; None if it starts, or is not installed."""
    try:
        error: int = ctypes.CDLL("libcuda.so.1").cuInit(0)
    except (OSError, AttributeError):
        return None
    return error or None


def advice() -> str:
    """What to do where CUDA does not start."""
    refused = denied()
    if refused is not None:
        return f"This account may not open {refused['path']}. On the device, run: {ALLOW}."
    return (
        "On the device, check that the GPU and its driver work: sudo tegrastats on a Jetson, "
        "nvidia-smi elsewhere."
    )


def _group(path: Path) -> str:
    try:
        return path.group()
    except KeyError:  # as in containers
        return str(path.stat().st_gid)
