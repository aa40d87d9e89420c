"""Weights with a single scale for all channels."""

from __future__ import annotations

from tmkd_deploy.explain.graph import Graph
from tmkd_deploy.explain.interface import Finding, Kind

_ADVICE = (
    "Quantize this weight with one scale per output channel (axis 0), as `tmkd-deploy quantize` "
    "does."
)


def per_tensor_weights(graph: Graph) -> list[Finding]:
    """One finding for each layer whose weight has a single scale for several channels."""
    findings = []
    for node, weight in graph.weighted():
        quantizer = graph.weight_quantizer(weight)
        if quantizer is None:
            continue
        scale, stored = graph.constant(quantizer.input[1]), graph.constant(quantizer.input[0])
        if scale is None or stored is None or scale.size > 1:
            continue
        channels = stored.shape[0]
        if channels == 1:
            continue
        groups = next((each.i for each in node.attribute if each.name == "group"), 1)
        kind = "depthwise weight" if groups == channels > 1 else "weight"
        reason = (
            "each channel is a separate filter, and small ones are rounded to zero"
            if groups == channels > 1
            else "small channels lose most of their precision"
        )
        findings.append(
            Finding(
                Kind.PER_TENSOR_WEIGHT,
                f"The {kind} of {graph.where(node)} has one scale for all {channels} channels: "
                f"{reason}.",
                _ADVICE,
                graph.layer(node),
                node.name,
            )
        )
    return findings
