"""Layers with unquantized weights: by the recipe, or by mistake."""

from __future__ import annotations

from collections.abc import Sequence

from tmkd_deploy.explain.graph import Graph
from tmkd_deploy.explain.interface import Finding, Kind
from tmkd_deploy.records.layer_names import user_name

_BY_RECIPE = (
    "If accuracy allows, remove it from quantize.exclude_layers: every excluded layer needs "
    "conversions on both sides."
)
_BY_MISTAKE = "Quantize the student again: neither the recipe nor a search excluded this layer."


def excluded_layer_findings(graph: Graph, excluded_layers: Sequence[str]) -> list[Finding]:
    """One finding for each layer with a floating-point weight in a quantized graph.

    `excluded_layers` lists those that the recipe or a mixed-precision search excluded.
    """
    named = {*excluded_layers, *map(user_name, excluded_layers)}
    findings = []
    for node, weight in graph.weighted():
        if graph.weight_quantizer(weight) is not None:
            continue
        where, layer = graph.where(node), graph.layer(node)
        intended = layer in named
        problem = f"{where} is not quantized" + (
            " because it is excluded." if intended else ", although it is not excluded."
        )
        advice = _BY_RECIPE if intended else _BY_MISTAKE
        findings.append(Finding(Kind.EXCLUDED, problem, advice, layer, node.name))
    return findings
