"""Additions with an unquantized input."""

from __future__ import annotations

import onnx

from tmkd_deploy.explain.graph import DEQUANTIZE, TRANSPARENT, WEIGHTED, Graph
from tmkd_deploy.explain.interface import Finding, Kind
from tmkd_deploy.records.quant_scheme import QuantScheme

_ADVICE = (
    "Quantize this input of the addition too, with the same quantizer as its other consumers. "
    "`tmkd-deploy quantize` does so unless the surrounding layers are in quantize.exclude_layers."
)


def unquantized_residuals(graph: Graph, quant_scheme: QuantScheme) -> list[Finding]:
    """One finding for each floating-point input of an addition.

    ONNX Runtime adds in integers only if both inputs come from a DequantizeLinear. TensorRT fuses
    the addition into the convolution that produces one input, if the other comes from a
    DequantizeLinear.
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
        findings += [
            _finding(graph, node, name) for name in floating if not _is_excluded(graph, name)
        ]
    return findings


def _finding(graph: Graph, node: onnx.NodeProto, tensor: str) -> Finding:
    producer = graph.producer(tensor)
    origin = graph.where(producer) if producer is not None else "the input"
    where = graph.where(node)
    return Finding(
        Kind.UNQUANTIZED_RESIDUAL,
        f"The addition in {_sentence(where)} has an unquantized input, which comes from {origin}: "
        "it runs in floating point, and its other input must be converted.",
        _ADVICE,
        graph.near(node),
        node.name,
    )


def _sentence(where: str) -> str:
    return where.removeprefix("the Add ") if where.startswith("the Add ") else where


def _is_quantized(graph: Graph, tensor: str) -> bool:
    producer = graph.producer(tensor)
    while producer is not None and producer.op_type in TRANSPARENT:
        producer = graph.producer(producer.input[0])
    return producer is not None and producer.op_type == DEQUANTIZE


def _is_excluded(graph: Graph, tensor: str) -> bool:
    producer = graph.producer(tensor)
    weight_node = graph.weight_node(producer) if producer is not None else None
    return weight_node is not None and graph.is_float(weight_node)


def _fuses(graph: Graph, tensor: str) -> bool:
    producer = graph.producer(tensor)
    return (
        producer is not None
        and producer.op_type in WEIGHTED
        and len(graph.consumers(producer)) == 1
    )
