"""What a device must be for a claim to be checked on it."""

from __future__ import annotations

import re

from tmkd_deploy.prove.outcome import NotRun, require
from tmkd_deploy.prove.workbench import Workbench

NO_GPU = "This device has no GPU."


def require_jetson(bench: Workbench) -> None:
    """Raise `NotRun` unless the device is a Jetson."""
    if not bench.is_jetson:
        raise NotRun("This device is not a Jetson." if bench.info["gpu"] else NO_GPU)


def require_tensorrt(bench: Workbench) -> None:
    """Raise `NotRun` unless it is a Jetson on which TensorRT's Python module can be used."""
    require_jetson(bench)
    require(
        bench.info["tensorrt"] is not None,
        "TensorRT's Python module is missing: sudo apt-get install python3-libnvinfer",
    )
    require(bench.info["numpy"] is not None, "NumPy is missing: sudo apt-get install python3-numpy")
    denied = bench.info["gpu_denied"]
    if denied is not None:
        raise NotRun(f"This account may not open {denied['path']}: add it to {denied['group']}.")


def require_trtexec(bench: Workbench) -> None:
    """Raise `NotRun` unless `trtexec` is there as well."""
    require_tensorrt(bench)
    require(
        bench.info["trtexec"] is not None,
        "trtexec is not installed; it is part of JetPack: sudo apt-get install nvidia-jetpack",
    )


def require_arm(bench: Workbench) -> None:
    """Raise `NotRun` unless the device has a 64-bit Arm processor and ONNX Runtime."""
    info = bench.info
    require(info["machine"].lower() in ("aarch64", "arm64"), "This device has no Arm processor.")
    require(
        info["onnxruntime"] is not None and info["numpy"] is not None,
        f"This device has no ONNX Runtime: {info['pip']} onnxruntime numpy",
    )


def is_emulated(bench: Workbench) -> bool:
    """Whether the processor is emulated, as in this project's own tests."""
    return re.search(r"\b(emulated|qemu)\b", bench.info["processor"] or "", re.I) is not None
