"""Runtimes by name."""

from __future__ import annotations

from tmkd_deploy.engines.interface import Runtime
from tmkd_deploy.engines.onnxruntime import OnnxRuntime
from tmkd_deploy.engines.openvino import OpenVino
from tmkd_deploy.engines.tensorrt_kit import TensorRTKit
from tmkd_deploy.engines.tensorrt_rtx import TensorRTRtx
from tmkd_deploy.records.types import RuntimeName

_RUNTIMES: dict[RuntimeName, Runtime] = {
    runtime.name: runtime for runtime in (OnnxRuntime(), OpenVino(), TensorRTRtx(), TensorRTKit())
}


def runtime(name: RuntimeName) -> Runtime:
    """The runtime called `name`."""
    return _RUNTIMES[name]
