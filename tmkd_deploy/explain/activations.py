"""Activations quantized with a scheme that the engine's runtime does not expect."""

from __future__ import annotations

from tmkd_deploy.explain.graph import QUANTIZE, Graph
from tmkd_deploy.explain.interface import Finding, Kind
from tmkd_deploy.records.quant_scheme import QuantScheme

_EXPECTED = {QuantScheme.S8: "int8", QuantScheme.U8: "uint8"}
_COST = {
    QuantScheme.S8: "TensorRT reads uint8 as int8 with only a warning, which destroys accuracy",
    QuantScheme.U8: "the runtime cannot absorb the activation before it, and its signed kernels "
    "are slower on x86, where they may saturate",
}
_ADVICE = "Export the student again for this target."


def wrong_signs(graph: Graph, quant_scheme: QuantScheme) -> list[Finding]:
    """One finding for each tensor that is quantized to the other integer type."""
    findings = []
    for node in graph.nodes:
        if node.op_type != QUANTIZE or len(node.input) < 3:
            continue
        zero = graph.constant(node.input[2])
        if zero is None or zero.dtype.name in ("float8_e4m3fn", _EXPECTED[quant_scheme]):
            continue
        near = graph.near(node)
        where = f"The activation after {near}" if near else "The network's input"
        findings.append(
            Finding(
                Kind.WRONG_SIGN,
                f"{where} is {zero.dtype.name} where {_EXPECTED[quant_scheme]} is expected: "
                f"{_COST[quant_scheme]}.",
                _ADVICE,
                near,
                node.name,
            )
        )
    return findings
