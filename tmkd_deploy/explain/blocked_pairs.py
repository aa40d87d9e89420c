"""Layers that cannot compute in integers because a node separates them from Q or DQ.

ONNX Runtime fuses DequantizeLinear, layer, QuantizeLinear into an integer operator only if nothing
else is between them; it absorbs a ReLU or Clip if the quantized range ends at the same bound.
TensorRT fuses activations itself, so only a layer's input must come from a DequantizeLinear; other
nodes before the next QuantizeLinear cost an extra floating-point pass through memory.
"""

from __future__ import annotations

import numpy as np
import onnx

from tmkd_deploy.explain.graph import DEQUANTIZE, QUANTIZE, TRANSPARENT, Graph
from tmkd_deploy.explain.interface import Finding, Kind
from tmkd_deploy.records.quant_scheme import QuantScheme

_CLIPPING = ("Relu", "Clip")
# rounding may extend a quantized range beyond that of a Clip
_SLACK = 1e-4


def blocked_pairs(graph: Graph, quant_scheme: QuantScheme) -> list[Finding]:
    """One finding for each side of a quantized layer where its Q/DQ pair cannot fuse."""
    findings = []
    for node, weight in graph.weighted():
        if graph.weight_quantizer(weight) is None:
            continue
        findings += [*_before(graph, node), *_after(graph, node, quant_scheme)]
    for node in graph.nodes:
        if node.op_type == "Add" and len(graph.data_inputs(node)) == 2:
            producers = [graph.producer(name) for name in graph.data_inputs(node)]
            if all(
                producer is not None and producer.op_type == DEQUANTIZE for producer in producers
            ):
                findings += _after(graph, node, quant_scheme)
    return findings


def _before(graph: Graph, node: onnx.NodeProto) -> list[Finding]:
    between = []
    producer = graph.producer(node.input[0])
    while producer is not None and producer.op_type != DEQUANTIZE:
        if producer.op_type not in TRANSPARENT:
            between.append(producer.op_type)
        sources = graph.data_inputs(producer)
        # beyond a layer or a join is another layer's output, not a blocked pair
        if graph.layer(producer) is not None or len(sources) != 1:
            producer = None
            break
        producer = graph.producer(sources[0])
    if producer is not None and not between:
        return []
    layer = graph.where(node)
    if producer is not None:
        cause = _list(between)
        problem = (
            f"{layer} computes in floating point: {cause} separates it from the "
            "DequantizeLinear before it, so the pair does not fuse."
        )
    else:
        problem = f"{layer} computes in floating point: its input is not quantized."
    return [Finding(Kind.BLOCKED_PAIR, problem, _ADVICE_BEFORE, graph.near(node), node.name)]


def _after(graph: Graph, node: onnx.NodeProto, quant_scheme: QuantScheme) -> list[Finding]:
    layer = graph.where(node)
    between: list[onnx.NodeProto] = []
    current = node
    while True:
        consumers = graph.consumers(current)
        kinds = {consumer.op_type for consumer in consumers}
        if kinds == {QUANTIZE}:
            break
        if QUANTIZE in kinds:
            return _shared(graph, node, consumers, quant_scheme)
        if len(consumers) != 1 or graph.layer(consumers[0]) not in (None, graph.layer(node)):
            # nothing rounds this output: a join, which is checked separately, or the logits
            return _unrounded(graph, node, between, consumers)
        current = consumers[0]
        if len(graph.data_inputs(current)) > 1:
            return _unrounded(graph, node, between, consumers)
        if current.op_type not in TRANSPARENT and not _is_bias(graph, current):
            between.append(current)
    quantizer = graph.consumers(current)[0]
    blocking = [each for each in between if not _absorbed(graph, each, quantizer, quant_scheme)]
    if not blocking:
        return []
    cause = _list([each.op_type for each in blocking])
    if all(each.op_type in _CLIPPING for each in blocking):
        problem = (
            f"The {cause} after {layer} is not absorbed because the quantized range does not end "
            f"at {'its bound' if len(blocking) == 1 else 'their bounds'}; "
            f"{_cost(layer, quant_scheme)}"
        )
        return [Finding(Kind.BLOCKED_PAIR, problem, _ADVICE_RANGE, graph.near(node), node.name)]
    problem = (
        f"{cause} separates {layer} from the QuantizeLinear after it, so the pair does not fuse; "
        f"{_cost(layer, quant_scheme)}"
    )
    return [Finding(Kind.BLOCKED_PAIR, problem, _ADVICE_AFTER, graph.near(node), node.name)]


def _shared(
    graph: Graph, node: onnx.NodeProto, consumers: list[onnx.NodeProto], quant_scheme: QuantScheme
) -> list[Finding]:
    others = [consumer.op_type for consumer in consumers if consumer.op_type != QUANTIZE]
    layer = graph.where(node)
    if set(others) == {"Add"}:  # the residual input of an addition is a finding of its own
        return []
    problem = (
        f"The output of {layer} is quantized, but {_list(others)} also uses it unquantized; "
        f"{_cost(layer, quant_scheme)}"
    )
    return [Finding(Kind.BLOCKED_PAIR, problem, _ADVICE_SHARED, graph.near(node), node.name)]


def _unrounded(
    graph: Graph,
    node: onnx.NodeProto,
    between: list[onnx.NodeProto],
    consumers: list[onnx.NodeProto],
) -> list[Finding]:
    joins = [consumer for consumer in consumers if consumer.op_type in ("Mul", "Concat")]
    if not joins:
        return []
    layer = graph.where(node)
    cause = _list([*(each.op_type for each in between), joins[0].op_type])
    problem = (
        f"The output of {layer} goes into {cause} before it is quantized, so no pair fuses and the "
        "values pass through memory in floating point."
    )
    return [Finding(Kind.BLOCKED_PAIR, problem, _ADVICE_AFTER, graph.near(node), node.name)]


def _absorbed(
    graph: Graph, node: onnx.NodeProto, quantizer: onnx.NodeProto, quant_scheme: QuantScheme
) -> bool:
    """Whether quantization clips at least as much as a ReLU or Clip."""
    if node.op_type not in _CLIPPING:
        return False
    if quant_scheme is QuantScheme.S8:
        return True
    scale = graph.constant(quantizer.input[1])
    zero = graph.constant(quantizer.input[2]) if len(quantizer.input) > 2 else np.uint8(0)
    if scale is None or zero is None or np.size(scale) != 1:
        return False
    limits = np.iinfo(np.asarray(zero).dtype)
    low = float(scale) * (limits.min - int(zero))
    high = float(scale) * (limits.max - int(zero))
    least, most = _bounds(graph, node)
    return low >= least - _SLACK * high and high <= most * (1 + _SLACK)


def _bounds(graph: Graph, node: onnx.NodeProto) -> tuple[float, float]:
    if node.op_type == "Relu":
        return 0.0, float("inf")
    bounds = [float("-inf"), float("inf")]
    for number, name in enumerate(node.input[1:3]):
        value = graph.constant(name) if name else None
        if value is not None:
            bounds[number] = float(value)
    return bounds[0], bounds[1]


def _is_bias(graph: Graph, node: onnx.NodeProto) -> bool:
    return node.op_type == "Add" and len(graph.data_inputs(node)) == 1 and bool(graph.layer(node))


def _cost(layer: str, quant_scheme: QuantScheme) -> str:
    if quant_scheme is QuantScheme.U8:
        return f"{layer} computes in floating point."
    return f"the output of {layer} may make an extra pass through memory in floating point."


def _list(names: list[str]) -> str:
    unique = list(dict.fromkeys(names))
    return unique[0] if len(unique) == 1 else f"{', '.join(unique[:-1])} and {unique[-1]}"


_ADVICE_BEFORE = (
    "Quantize the layer's own input. If an activation such as HardSwish is in the way, choose a "
    "student with ReLU activations, or add the layer to quantize.exclude_layers."
)
_ADVICE_AFTER = (
    "Choose a student with ReLU or ReLU6 activations and without squeeze-and-excitation, or add "
    "these layers to quantize.exclude_layers, which saves the conversions around them."
)
_ADVICE_RANGE = (
    "Quantize this tensor over exactly the activation's range; exporting the student again for "
    "this target does so."
)
_ADVICE_SHARED = "Route all consumers of this output through the same DequantizeLinear."
