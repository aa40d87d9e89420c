"""All findings from an ONNX file, independent of any engine."""

from __future__ import annotations

from collections.abc import Sequence

from tmkd_deploy.explain.activations import wrong_signs
from tmkd_deploy.explain.blocked_pairs import blocked_pairs
from tmkd_deploy.explain.excluded import excluded_layer_findings
from tmkd_deploy.explain.graph import Graph
from tmkd_deploy.explain.interface import Finding
from tmkd_deploy.explain.residuals import unquantized_residuals
from tmkd_deploy.explain.weight_scales import per_tensor_weights
from tmkd_deploy.records.quant_scheme import QuantScheme
from tmkd_deploy.records.types import RuntimeName


def graph_findings(
    graph: Graph,
    quant_scheme: QuantScheme,
    excluded_layers: Sequence[str] = (),
    runtime: RuntimeName | None = None,
) -> list[Finding]:
    """Everything in a quantized ONNX graph that prevents a runtime from computing in integers.

    Args:
        graph: the exported model.
        quant_scheme: of the runtime the graph is for.
        excluded_layers: layers that are meant to stay in floating point.
        runtime: that runs it. OpenVINO computes in integers across what blocks the pairs of other
            runtimes, and its own list of layers says where it does not.
    """
    blocked = [] if runtime == "openvino" else blocked_pairs(graph, quant_scheme)
    return [
        *blocked,
        *unquantized_residuals(graph, quant_scheme),
        *per_tensor_weights(graph),
        *wrong_signs(graph, quant_scheme),
        *excluded_layer_findings(graph, excluded_layers),
    ]
