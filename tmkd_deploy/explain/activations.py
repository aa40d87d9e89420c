"""Activations on a grid that the engine's runtime does not want."""

from __future__ import annotations

from tmkd_deploy.explain.graph import QUANTIZE, Graph
from tmkd_deploy.explain.interface import Finding, Kind
from tmkd_deploy.records.quant_scheme import Placement

_WANTED = {Placement.SIGNED: "int8", Placement.UNSIGNED: "uint8"}
_COST = {
    Placement.SIGNED: "TensorRT reads uint8 as int8 with no more than a warning, and the accuracy "
    "is gone",
    Placement.UNSIGNED: "ONNX Runtime cannot absorb the activation before it, and its integer "
    "arithmetic for this kind is slower on x86",
}
_ADVICE = "Export the student anew for this target, whose runtime wants the other kind."


def wrong_signs(graph: Graph, placement: Placement) -> list[Finding]:
    """One finding for each tensor that is rounded to the other runtime's kind of integer."""
    findings = []
    for node in graph.nodes:
        if node.op_type != QUANTIZE or len(node.input) < 3:
            continue
        zero = graph.constant(node.input[2])
        if zero is None or zero.dtype.name in ("float8_e4m3fn", _WANTED[placement]):
            continue
        near = graph.near(node)
        where = f"The activation after {near}" if near else "The network's input"
        findings.append(
            Finding(
                Kind.WRONG_SIGN,
                f"{where} is {zero.dtype.name} where {_WANTED[placement]} is wanted: "
                f"{_COST[placement]}.",
                _ADVICE,
                near,
                node.name,
            )
        )
    return findings
