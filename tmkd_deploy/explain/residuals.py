"""Additions with an input that is not quantized."""

from __future__ import annotations

import onnx

from tmkd_deploy.explain.graph import DEQUANTIZE, TRANSPARENT, WEIGHTED, Graph
from tmkd_deploy.explain.interface import Finding, Kind
from tmkd_deploy.records.quant_scheme import QuantScheme

_ADVICE = (
    "Quantize this input of the addition too, with the quantizer that its other takers use; this "
    "program's own quantize does so unless the layers around are named in quantize.exclude_layers."
)


def unquantized_residuals(graph: Graph, quant_scheme: QuantScheme) -> list[Finding]:
    """One finding for each input of an addition that reaches it in floating point.

    ONNX Runtime adds in integers only where both inputs come from a DequantizeLinear. TensorRT adds
    as part of the convolution that makes one input, if the other comes from a DequantizeLinear.
    """
    findings = []
    for node in graph.nodes:
        inputs = graph.data_inputs(node)
        if node.op_type != "Add" or len(inputs) != 2:
            continue
        floating = [name for name in inputs if not _is_quantized(graph, name)]
        if quant_scheme is QuantScheme.S8 and len(floating) == 1 and _fuses(graph, floating[0]):
            continue
        if len(floating) == 2 and quant_scheme is QuantScheme.S8:
            floating = [name for name in floating if not _fuses(graph, name)] or floating[1:]
        findings += [_finding(graph, node, name) for name in floating if not _left_out(graph, name)]
    return findings


def _finding(graph: Graph, node: onnx.NodeProto, tensor: str) -> Finding:
    maker = graph.maker(tensor)
    origin = graph.where(maker) if maker is not None else "the input"
    where = graph.where(node)
    return Finding(
        Kind.UNQUANTIZED_RESIDUAL,
        f"The addition in {_sentence(where)} takes an input that is not quantized, which comes "
        f"from {origin}: the addition runs in floating point, and the other input is converted "
        "for it.",
        _ADVICE,
        graph.near(node),
        node.name,
    )


def _sentence(where: str) -> str:
    return where.removeprefix("the Add ") if where.startswith("the Add ") else where


def _is_quantized(graph: Graph, tensor: str) -> bool:
    maker = graph.maker(tensor)
    while maker is not None and maker.op_type in TRANSPARENT:
        maker = graph.maker(maker.input[0])
    return maker is not None and maker.op_type == DEQUANTIZE


def _left_out(graph: Graph, tensor: str) -> bool:
    maker = graph.maker(tensor)
    holder = graph.holder(maker) if maker is not None else None
    return holder is not None and graph.is_float(holder)


def _fuses(graph: Graph, tensor: str) -> bool:
    maker = graph.maker(tensor)
    return maker is not None and maker.op_type in WEIGHTED and len(graph.takers(maker)) == 1
