"""Mistakes planted into an exported graph, each in the layer that is named."""

import numpy as np
import onnx
from onnx import helper, numpy_helper


def operator_before(proto, layer):
    """A HardSwish between a layer and the DequantizeLinear before it."""
    node = _holder(proto, layer)
    _insert(proto, "HardSwish", node.input[0], node)


def operator_after(proto, layer):
    """A HardSwish between a layer and the QuantizeLinear after it."""
    node = _holder(proto, layer)
    tensor = node.output[0]
    while True:
        (taker,) = [each for each in proto.graph.node if tensor in each.input]
        if taker.op_type == "QuantizeLinear":
            break
        tensor = taker.output[0]
    _insert(proto, "HardSwish", tensor, taker)


def per_tensor_weight(proto, layer):
    """One scale for the whole weight of a layer, its values rounded anew."""
    constants = {tensor.name: tensor for tensor in proto.graph.initializer}
    quantizer = _maker(proto, _holder(proto, layer).input[1])
    stored, scales = (numpy_helper.to_array(constants[name]) for name in quantizer.input[:2])
    values = stored * scales.reshape(-1, *[1] * (stored.ndim - 1)).astype(np.float32)
    scale = np.abs(values).max() / 127
    parts = {
        "weight": np.rint(values / scale).astype(np.int8),
        "scale": np.array(scale, scales.dtype),
        "zero": np.array(0, np.int8),
    }
    for number, (name, value) in enumerate(parts.items()):
        planted = f"{quantizer.input[number]}_planted_{name}"
        proto.graph.initializer.append(numpy_helper.from_array(value, planted))
        quantizer.input[number] = planted
    del quantizer.attribute[:]


def float_weight(proto, layer):
    """The weight of a layer stored in floating point, under the name that it has in torch."""
    constants = {tensor.name: tensor for tensor in proto.graph.initializer}
    node = _holder(proto, layer)
    quantizer = _maker(proto, node.input[1])
    stored, scales = (numpy_helper.to_array(constants[name]) for name in quantizer.input[:2])
    name = f"classifier.network.backbone.{layer}.weight"
    values = stored * scales.reshape(-1, *[1] * (stored.ndim - 1))
    proto.graph.initializer.append(numpy_helper.from_array(values, name))
    node.input[1] = name


def unquantized_residual(proto, layer):
    """The addition after a layer takes its other input before that is rounded."""
    last = _maker(proto, _taker(proto, _holder(proto, layer).output[0]).output[0])
    main = _taker(proto, last.output[0]).output[0]
    addition = next(
        node for node in proto.graph.node if node.op_type == "Add" and main in node.input
    )
    place = next(number for number, name in enumerate(addition.input) if name != main)
    dequantize = _maker(proto, addition.input[place])
    addition.input[place] = _maker(proto, dequantize.input[0]).input[0]


def _holder(proto, layer):
    for node in proto.graph.node:
        if node.op_type in ("Conv", "Gemm"):
            dequantize = _maker(proto, node.input[1])
            if f".{layer}.parametrizations" in dequantize.input[1]:
                return node
    raise AssertionError(f"there is no {layer}")


def _maker(proto, tensor):
    return next(node for node in proto.graph.node if tensor in node.output)


def _taker(proto, tensor):
    return next(node for node in proto.graph.node if tensor in node.input)


def _insert(proto, operator, tensor, taker):
    name = f"{tensor}_planted"
    planted = helper.make_node(operator, [tensor], [name], name=f"node_{name}")
    place = [each.name for each in proto.graph.node].index(taker.name)
    proto.graph.node.insert(place, planted)
    taker = proto.graph.node[place + 1]
    number = list(taker.input).index(tensor)
    taker.input[number] = name
    onnx.checker.check_model(proto)
