"""What an ONNX file computes, by ONNX Runtime on the CPU without graph optimisation."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper

from tmkd_deploy.records.onnx_model import INPUT


def reference_logits(model: Path, images: np.ndarray, batch_size: int = 32) -> np.ndarray:
    """Logits [N, C] of an ONNX file, unchecked."""
    import onnxruntime  # noqa: PLC0415 - takes a second that other uses of this file need not wait

    proto = onnx.load(model)
    _quantize_in_fp32(proto)
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(
        proto.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    parts = [
        session.run(None, {INPUT: np.ascontiguousarray(images[start : start + batch_size])})[0]
        for start in range(0, len(images), batch_size)
    ]
    logits: np.ndarray = np.concatenate(parts)
    return logits


def _quantize_in_fp32(proto: onnx.ModelProto) -> None:
    """Let each QuantizeLinear of FP16 tensors round their exact quotient, as the standard says.

    The CPU kernel truncates it in ONNX Runtime up to 1.28 at least; it rounds from 1.30 on.
    """
    halves = {
        tensor.name for tensor in proto.graph.initializer if tensor.data_type == TensorProto.FLOAT16
    }
    nodes: list[onnx.NodeProto] = []
    for node in proto.graph.node:
        if node.op_type == "QuantizeLinear" and node.input[1] in halves:
            for place, name in enumerate(node.input[:2]):
                exact = f"{node.output[0]}_exact_{place}"
                nodes.append(helper.make_node("Cast", [name], [exact], to=TensorProto.FLOAT))
                node.input[place] = exact
        nodes.append(node)
    del proto.graph.node[:]
    proto.graph.node.extend(nodes)
