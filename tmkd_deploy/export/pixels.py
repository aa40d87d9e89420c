"""Remove the arithmetic between raw pixels and the first quantized layer if it has no effect."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import numpy_helper


def bypass_pixel_arithmetic(proto: onnx.ModelProto) -> None:
    """Feed raw pixels directly to the first DequantizeLinear if that is equivalent.

    A uint8 pixel is cast, normalised and quantized to uint8. If all 256 values are unchanged, these
    steps are removed, so runtimes convert nothing before the first layer.
    """
    graph = proto.graph
    constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    producers = {name: node for node in graph.node for name in node.output}
    for quantize in [node for node in graph.node if node.op_type == "QuantizeLinear"]:
        steps = _steps_from_input(quantize, producers, constants)
        if steps is None or not _changes_nothing(steps, constants):
            continue
        cast, transpose = steps[0], steps[1]
        transpose.input[0] = cast.input[0]
        for node in graph.node:
            for index, name in enumerate(node.input):
                if name == quantize.output[0]:
                    node.input[index] = transpose.output[0]
        for node in (cast, *steps[2:]):
            graph.node.remove(node)


def _steps_from_input(
    quantize: onnx.NodeProto,
    producers: dict[str, onnx.NodeProto],
    constants: dict[str, np.ndarray],
) -> list[onnx.NodeProto] | None:
    """Cast, Transpose, arithmetic with scalar constants, QuantizeLinear; None if different."""
    steps = [quantize]
    while (node := producers.get(steps[0].input[0])) is not None:
        steps.insert(0, node)
    kinds = [node.op_type for node in steps]
    arithmetic = steps[2:-1]
    if kinds[:2] != ["Cast", "Transpose"] or not set(kinds[2:-1]) <= {"Mul", "Add"}:
        return None
    if any(constants.get(node.input[1], np.empty(0)).size != 1 for node in arithmetic):
        return None
    return steps


def _changes_nothing(steps: list[onnx.NodeProto], constants: dict[str, np.ndarray]) -> bool:
    quantize = steps[-1]
    scale, zero_point = (constants[name] for name in quantize.input[1:3])
    if zero_point.dtype != np.uint8 or scale.size != 1:
        return False
    pixels = np.arange(256)
    values = pixels.astype(np.float32)
    for node in steps[2:-1]:
        constant = constants[node.input[1]].reshape(())
        values = values * constant if node.op_type == "Mul" else values + constant
    rounded = np.rint(values / scale.reshape(())) + zero_point.astype(np.float32).reshape(())
    return bool(np.array_equal(rounded.clip(0, 255), pixels))
