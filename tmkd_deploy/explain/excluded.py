"""Layers whose weight is not quantized: by the recipe, or by mistake."""

from __future__ import annotations

from collections.abc import Sequence

from tmkd_deploy.explain.graph import Graph
from tmkd_deploy.explain.interface import Finding, Kind

_BY_RECIPE = (
    "Quantize it after all by taking it out of quantize.exclude_layers, if the accuracy allows; "
    "conversions stand on both sides of every layer that is left out."
)
_BY_MISTAKE = "Quantize the student anew: nothing asked for this layer to be left out."


def excluded_layer_findings(graph: Graph, excluded_layers: Sequence[str]) -> list[Finding]:
    """One finding for each layer with a float weight in a graph that is quantized elsewhere.

    `left_out` names those that the recipe, or the search for a budget, left out.
    """
    named = {name.removeprefix("backbone.") for name in excluded_layers}
    findings = []
    for node, weight in graph.weighted():
        if graph.weight_quantizer(weight) is not None:
            continue
        where, layer = graph.where(node), graph.layer(node)
        asked = layer in named
        problem = f"{where} is not quantized" + (
            ", because it was left out on purpose." if asked else ", and nobody asked for that."
        )
        advice = _BY_RECIPE if asked else _BY_MISTAKE
        findings.append(Finding(Kind.EXCLUDED, problem, advice, layer, node.name))
    return findings
