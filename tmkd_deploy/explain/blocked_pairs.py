"""Layers that cannot compute in integers, because something stands between them and Q or DQ.

ONNX Runtime makes an integer operator of DequantizeLinear, layer, QuantizeLinear where nothing else
lies between; a ReLU or Clip is absorbed if the quantized range ends where it does. TensorRT fuses
activations of its own, so there only a layer's input has to come from a DequantizeLinear, and
anything else before the next QuantizeLinear costs a pass over the values in floating point.
"""

from __future__ import annotations

import numpy as np
import onnx

from tmkd_deploy.explain.graph import DEQUANTIZE, QUANTIZE, TRANSPARENT, Graph
from tmkd_deploy.explain.interface import Finding, Kind
from tmkd_deploy.records.quant_scheme import QuantScheme

_CLIPPING = ("Relu", "Clip")
# a quantized range may exceed that of a Clip by rounding
_SLACK = 1e-4


def blocked_pairs(graph: Graph, quant_scheme: QuantScheme) -> list[Finding]:
    """One finding for each side of a quantized layer on which a Q/DQ pair cannot fuse."""
    findings = []
    for node, weight in graph.weighted():
        if graph.weight_quantizer(weight) is None:
            continue
        findings += [*_before(graph, node), *_after(graph, node, quant_scheme)]
    for node in graph.nodes:
        if node.op_type == "Add" and len(graph.data_inputs(node)) == 2:
            makers = [graph.maker(name) for name in graph.data_inputs(node)]
            if all(maker is not None and maker.op_type == DEQUANTIZE for maker in makers):
                findings += _after(graph, node, quant_scheme)
    return findings


def _before(graph: Graph, node: onnx.NodeProto) -> list[Finding]:
    between = []
    maker = graph.maker(node.input[0])
    while maker is not None and maker.op_type != DEQUANTIZE:
        if maker.op_type not in TRANSPARENT:
            between.append(maker.op_type)
        sources = graph.data_inputs(maker)
        # beyond a layer or a join lies another layer's output, not a pair that is blocked
        if graph.layer(maker) is not None or len(sources) != 1:
            maker = None
            break
        maker = graph.maker(sources[0])
    if maker is not None and not between:
        return []
    layer = graph.where(node)
    if maker is not None:
        cause = _list(between)
        problem = (
            f"{layer} computes in floating point: {cause} stands between it and the "
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
        takers = graph.takers(current)
        kinds = {taker.op_type for taker in takers}
        if kinds == {QUANTIZE}:
            break
        if QUANTIZE in kinds:
            return _shared(graph, node, takers, quant_scheme)
        if len(takers) != 1 or graph.layer(takers[0]) not in (None, graph.layer(node)):
            # nothing rounds this output: a join, which is looked at by itself, or the logits
            return _unrounded(graph, node, between, takers)
        current = takers[0]
        if len(graph.data_inputs(current)) > 1:
            return _unrounded(graph, node, between, takers)
        if current.op_type not in TRANSPARENT and not _is_bias(graph, current):
            between.append(current)
    quantizer = graph.takers(current)[0]
    blocking = [each for each in between if not _absorbed(graph, each, quantizer, quant_scheme)]
    if not blocking:
        return []
    cause = _list([each.op_type for each in blocking])
    if all(each.op_type in _CLIPPING for each in blocking):
        problem = (
            f"The {cause} after {layer} is not absorbed, because the quantized range does not end "
            f"where {'it does' if len(blocking) == 1 else 'they do'}; {_cost(layer, quant_scheme)}"
        )
        return [Finding(Kind.BLOCKED_PAIR, problem, _ADVICE_RANGE, graph.near(node), node.name)]
    problem = (
        f"{cause} stands between {layer} and the QuantizeLinear after it, so the pair does not "
        f"fuse; {_cost(layer, quant_scheme)}"
    )
    return [Finding(Kind.BLOCKED_PAIR, problem, _ADVICE_AFTER, graph.near(node), node.name)]


def _shared(
    graph: Graph, node: onnx.NodeProto, takers: list[onnx.NodeProto], quant_scheme: QuantScheme
) -> list[Finding]:
    others = [taker.op_type for taker in takers if taker.op_type != QUANTIZE]
    layer = graph.where(node)
    if set(others) == {"Add"}:  # the residual input of an addition, which is a finding of its own
        return []
    problem = (
        f"The output of {layer} is quantized, but {_list(others)} also takes it unquantized; "
        f"{_cost(layer, quant_scheme)}"
    )
    return [Finding(Kind.BLOCKED_PAIR, problem, _ADVICE_SHARED, graph.near(node), node.name)]


def _unrounded(
    graph: Graph,
    node: onnx.NodeProto,
    between: list[onnx.NodeProto],
    takers: list[onnx.NodeProto],
) -> list[Finding]:
    joins = [taker for taker in takers if taker.op_type in ("Mul", "Concat")]
    if not joins:
        return []
    layer = graph.where(node)
    cause = _list([*(each.op_type for each in between), joins[0].op_type])
    problem = (
        f"The output of {layer} goes into {cause} before anything rounds it, so no pair fuses "
        "there, and the values pass through memory in floating point."
    )
    return [Finding(Kind.BLOCKED_PAIR, problem, _ADVICE_AFTER, graph.near(node), node.name)]


def _absorbed(
    graph: Graph, node: onnx.NodeProto, quantizer: onnx.NodeProto, quant_scheme: QuantScheme
) -> bool:
    """Whether quantizing clips at least as much as a ReLU or Clip does."""
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
    return f"the result of {layer} may make an extra pass through memory in floating point."


def _list(names: list[str]) -> str:
    unique = list(dict.fromkeys(names))
    return unique[0] if len(unique) == 1 else f"{', '.join(unique[:-1])} and {unique[-1]}"


_ADVICE_BEFORE = (
    "Quantize what goes into the layer itself; if an activation such as HardSwish stands there, "
    "choose a student whose activations are ReLU, or name the layer in quantize.exclude_layers."
)
_ADVICE_AFTER = (
    "Choose a student whose activations are ReLU or ReLU6 and that has no squeeze-and-excitation, "
    "or name these layers in quantize.exclude_layers, which saves the conversions around them."
)
_ADVICE_RANGE = (
    "Quantize this tensor with a zero point and a largest value that end where the activation "
    "does: exporting the student anew for this target does so."
)
_ADVICE_SHARED = "Let everything that takes this output take it after the same DequantizeLinear."
