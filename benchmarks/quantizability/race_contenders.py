"""The engines that race: ours on every runtime, and what other tools make of the same network."""

from __future__ import annotations

from typing import NamedTuple

from tmkd_deploy.records.types import RuntimeName


class Contender(NamedTuple):
    """An engine: what runs it, from which file, and how a table names it."""

    runtime: RuntimeName
    file: str
    title: str
    ours: bool = True


CONTENDERS = {
    "fp32": Contender("onnxruntime", "fp32", "ONNX Runtime FP32"),
    "int8": Contender("onnxruntime", "int8", "ONNX Runtime INT8"),
    "fp32-openvino": Contender("openvino", "fp32", "OpenVINO FP32"),
    "bf16-openvino": Contender("openvino", "bf16", "OpenVINO BF16"),
    "int8-openvino": Contender("openvino", "int8", "OpenVINO INT8"),
    "quantize_static": Contender("onnxruntime", "quantize_static", "quantize_static", False),
    "nncf": Contender("openvino", "nncf", "NNCF", False),
}
# what ours are compared with: BF16 takes no tool at all
OTHERS = ("quantize_static", "nncf", "bf16-openvino")
