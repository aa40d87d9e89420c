"""Keep excluded layers in floating point."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import numpy_helper

from tmkd_deploy.export.unused_constants import drop_unused_constants


def keep_in_float(proto: onnx.ModelProto) -> None:
    """Give each layer with float weights and uint8 input a per-channel DequantizeLinear.

    If input and output of a Conv or Gemm are quantized, ONNX Runtime quantizes its float weights to
    int8 with a single scale (its WeightBiasQuantization pass), so an excluded layer would be
    rounded more coarsely than any other. It skips layers whose input is dequantized per channel;
    here all channels have the same scale.
    """
    constants = {tensor.name: tensor for tensor in proto.graph.initializer}
    producers = {output: node for node in proto.graph.node for output in node.output}
    for node in list(proto.graph.node):
        if node.op_type not in ("Conv", "Gemm") or node.input[1] not in constants:
            continue
        source = producers.get(node.input[0])
        if source is None or source.op_type != "DequantizeLinear":
            continue
        scale, zero_point = (
            numpy_helper.to_array(constants[name]).reshape(-1) for name in source.input[1:]
        )
        if zero_point.dtype != np.uint8 or len(scale) != 1:
            continue
        channels = _channels(node, constants[node.input[1]])
        own = f"{node.input[0]}_of_{node.name}"
        for name, value in (("scale", scale), ("zero_point", zero_point)):
            tensor = numpy_helper.from_array(value.repeat(channels), f"{own}_{name}")
            proto.graph.initializer.append(tensor)
        dequantize = onnx.helper.make_node(
            "DequantizeLinear",
            [source.input[0], f"{own}_scale", f"{own}_zero_point"],
            [own],
            name=own,
            axis=1,
        )
        proto.graph.node.insert(list(proto.graph.node).index(node), dequantize)
        node.input[0] = own
    _drop_unread(proto)


def _channels(node: onnx.NodeProto, weight: onnx.TensorProto) -> int:
    """The layer's input channels: a Conv's weight is [out, in / groups, ...]."""
    attributes: dict[str, int] = {each.name: each.i for each in node.attribute}
    if node.op_type == "Conv":
        return int(weight.dims[1]) * attributes.get("group", 1)
    return int(weight.dims[1 if attributes.get("transB", 0) else 0])


def _drop_unread(proto: onnx.ModelProto) -> None:
    """Remove unused DequantizeLinear nodes and their constants."""
    read = {name for node in proto.graph.node for name in node.input}
    read |= {output.name for output in proto.graph.output}
    for node in list(proto.graph.node):
        if node.op_type == "DequantizeLinear" and node.output[0] not in read:
            proto.graph.node.remove(node)
    drop_unused_constants(proto.graph)
