"""Pixels that are quantized already: no arithmetic between the camera and the first layer."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import numpy_helper


def take_pixels_as_they_are(proto: onnx.ModelProto) -> None:
    """Let the first DequantizeLinear read the camera's bytes where that changes nothing.

    A uint8 pixel is cast, normalised and quantized to uint8. Where each of the 256 values comes out
    as it went in, those steps are left out; runtimes then convert nothing before the first layer.
    """
    graph = proto.graph
    constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    made_by = {name: node for node in graph.node for name in node.output}
    for quantize in [node for node in graph.node if node.op_type == "QuantizeLinear"]:
        steps = _steps_from_camera(quantize, made_by, constants)
        if steps is None or not _changes_nothing(steps, constants):
            continue
        cast, transpose = steps[0], steps[1]
        transpose.input[0] = cast.input[0]
        for node in graph.node:
            for place, name in enumerate(node.input):
                if name == quantize.output[0]:
                    node.input[place] = transpose.output[0]
        for node in (cast, *steps[2:]):
            graph.node.remove(node)


def _steps_from_camera(
    quantize: onnx.NodeProto,
    made_by: dict[str, onnx.NodeProto],
    constants: dict[str, np.ndarray],
) -> list[onnx.NodeProto] | None:
    """Cast, Transpose, arithmetic with one constant each, QuantizeLinear; None if it is not so."""
    steps = [quantize]
    while (node := made_by.get(steps[0].input[0])) is not None:
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
