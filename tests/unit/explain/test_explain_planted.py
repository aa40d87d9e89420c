"""Each known mistake, planted into a sound graph, is found and named; the sound graph is not."""

import planted_mistakes as plant
import pytest

from tmkd_deploy.explain.findings import graph_findings
from tmkd_deploy.explain.graph import Graph, LayerNames
from tmkd_deploy.explain.interface import Kind
from tmkd_deploy.records.quant_scheme import QuantScheme

PLACEMENTS = pytest.mark.parametrize("quant_scheme", list(QuantScheme), ids=lambda p: p.value)
MISTAKES = {
    "operator before a layer": (plant.operator_before, "blocks.1.1.conv_dw", Kind.BLOCKED_PAIR),
    "operator after a layer": (plant.operator_after, "blocks.1.0.conv_pw", Kind.BLOCKED_PAIR),
    "per-tensor depthwise weight": (
        plant.per_tensor_weight,
        "blocks.1.0.conv_dw",
        Kind.PER_TENSOR_WEIGHT,
    ),
    "unquantized residual": (
        plant.unquantized_residual,
        "blocks.1.1.conv_pwl",
        Kind.UNQUANTIZED_RESIDUAL,
    ),
}


def findings(proto, quant_scheme, excluded_layers=()):
    return graph_findings(Graph(proto), quant_scheme, excluded_layers)


@PLACEMENTS
def test_a_sound_graph_has_no_findings(inverted_residuals, quant_scheme):
    assert findings(inverted_residuals(quant_scheme), quant_scheme) == []


@PLACEMENTS
@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_planted_mistake_is_found_and_named(inverted_residuals, quant_scheme, mistake):
    make, layer, kind = MISTAKES[mistake]
    proto = inverted_residuals(quant_scheme)
    make(proto, layer)
    found = findings(proto, quant_scheme)
    assert [(each.kind, each.layer) for each in found] == [(kind, layer)]
    assert layer in found[0].problem
    assert found[0].problem.endswith(".") and found[0].advice.endswith(".")


@PLACEMENTS
def test_all_mistakes_at_once_are_all_found(inverted_residuals, quant_scheme):
    proto = inverted_residuals(quant_scheme)
    for make, layer, _ in MISTAKES.values():
        make(proto, layer)
    found = {(each.kind, each.layer) for each in findings(proto, quant_scheme)}
    assert found == {(kind, layer) for _, layer, kind in MISTAKES.values()}


def test_the_operator_in_between_and_the_residuals_origin_are_told(inverted_residuals):
    proto = inverted_residuals(QuantScheme.U8)
    plant.operator_before(proto, "blocks.1.1.conv_dw")
    plant.unquantized_residual(proto, "blocks.1.1.conv_pwl")
    blocked, residual = findings(proto, QuantScheme.U8)
    assert "HardSwish" in blocked.problem
    assert "comes from blocks.1.0.conv_pwl" in residual.problem


def test_openvino_computes_in_integers_across_operators(inverted_residuals):
    proto = inverted_residuals(QuantScheme.U8)
    plant.operator_before(proto, "blocks.1.1.conv_dw")
    found = graph_findings(Graph(proto), QuantScheme.U8, runtime="openvino")
    assert not [each for each in found if each.kind is Kind.BLOCKED_PAIR]


@PLACEMENTS
def test_another_runtimes_activations_are_told(inverted_residuals, quant_scheme):
    other = next(each for each in QuantScheme if each is not quant_scheme)
    found = findings(inverted_residuals(other), quant_scheme)
    signs = [each for each in found if each.kind is Kind.WRONG_SIGN]
    assert {"blocks.1.1.conv_pw", None} <= {each.layer for each in signs}


def test_a_relu_that_the_range_does_not_absorb_is_told(inverted_residuals):
    # int8 activations leave the ReLU in place, and with it the convolution before it
    found = findings(inverted_residuals(QuantScheme.S8), QuantScheme.U8)
    blocked = {each.layer: each.problem for each in found if each.kind is Kind.BLOCKED_PAIR}
    assert "Relu after blocks.1.0.conv_dw is not absorbed" in blocked["blocks.1.0.conv_dw"]
    assert "blocks.1.0.conv_pwl" not in blocked


def test_a_float_weight_is_left_out_on_purpose_or_by_mistake(inverted_residuals):
    proto = inverted_residuals(QuantScheme.U8)
    plant.float_weight(proto, "blocks.1.0.conv_pw")
    (by_mistake,) = findings(proto, QuantScheme.U8)
    (on_purpose,) = findings(proto, QuantScheme.U8, ["backbone.blocks.1.0.conv_pw"])
    assert by_mistake.kind is on_purpose.kind is Kind.EXCLUDED
    assert by_mistake.layer == on_purpose.layer == "blocks.1.0.conv_pw"
    assert (
        "although it is not excluded" in by_mistake.problem
        and "because it is excluded" in on_purpose.problem
    )


def test_names_that_a_runtime_rewrites_lead_back_to_layers(inverted_residuals):
    graph = Graph(inverted_residuals(QuantScheme.U8))
    names = LayerNames(graph)
    nodes = {graph.layer(node): node for node, _ in graph.weighted()}
    node = nodes["blocks.1.1.conv_dw"]
    for rewritten in (node.name, f"{node.name}_token_12", f"{node.name}_myl0_3", node.output[0]):
        assert names.of(rewritten) == "blocks.1.1.conv_dw"
    assert names.of("__myl_MulCast_myl0_2") is None
