"""Where a graph in FP16 overflows: activations beyond 65,504 become infinite, and then NaN.

ONNX Runtime computes FP16 graphs in FP32 on most processors, so their logits look sound here. A GPU
does not. Therefore every FP16 tensor is asked for by itself, which rounds it to FP16.
"""

from __future__ import annotations

import numpy as np
import onnx
from onnx import NodeProto, TensorProto

from tmkd_deploy.records.onnx_model import INPUT

LARGEST = int(np.finfo(np.float16).max)


def first_overflow(proto: onnx.ModelProto, images: np.ndarray) -> NodeProto | None:
    """The first node, in the file's order, with an FP16 output that is not finite; None if none is.

    Args:
        proto: the graph; FP32 tensors are not looked at.
        images: uint8 [N, H, W, 3].
    """
    import onnxruntime  # noqa: PLC0415 - takes a second that other uses of this file need not wait

    inferred = onnx.shape_inference.infer_shapes(proto)
    known = {value.name for value in inferred.graph.output}
    halves = [
        value
        for value in inferred.graph.value_info
        if value.type.tensor_type.elem_type == TensorProto.FLOAT16 and value.name not in known
    ]
    if not halves:
        return None
    inferred.graph.output.extend(halves)
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(
        inferred.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    names = [value.name for value in halves]
    infinite: set[str] = set()
    for at in range(len(images)):  # one at a time, because all activations are kept
        found = session.run(names, {INPUT: np.ascontiguousarray(images[at : at + 1])})
        infinite |= {
            name for name, each in zip(names, found, strict=True) if not np.isfinite(each).all()
        }
    return next((node for node in proto.graph.node if infinite.intersection(node.output)), None)
