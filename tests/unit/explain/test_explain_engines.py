"""What engines say: the profiles of ONNX Runtime and OpenVINO, TensorRT-RTX's list of layers."""

import importlib.util

import onnx
import planted_mistakes as plant
import pytest

from tmkd_deploy.errors import DataError, EnvironmentProblem
from tmkd_deploy.explain import onnxruntime, openvino, tensorrt
from tmkd_deploy.explain.engine_findings import float_layers, reformats
from tmkd_deploy.explain.graph import Graph, LayerNames
from tmkd_deploy.explain.interface import EngineLayer, EngineView, Kind, shares, slowest
from tmkd_deploy.records.quant_scheme import QuantScheme

HAS_RTX = importlib.util.find_spec("tensorrt_rtx") is not None
PLANTED = "blocks.1.1.conv_dw"


def run(proto, folder):
    path = folder / "model.onnx"
    onnx.save(proto, path)
    return onnxruntime.view(path, Graph(proto), 1)


@pytest.fixture(scope="module")
def sound(inverted_residuals, tmp_path_factory):
    return run(inverted_residuals(QuantScheme.U8), tmp_path_factory.mktemp("sound"))


@pytest.fixture(scope="module")
def planted(inverted_residuals, tmp_path_factory):
    proto = inverted_residuals(QuantScheme.U8)
    plant.operator_before(proto, PLANTED)
    return run(proto, tmp_path_factory.mktemp("planted"))


def convolutions(view):
    return {layer.layer: layer for layer in view.layers if "Conv" in layer.operator}


def test_onnxruntime_names_every_layer_and_its_type(sound, inverted_residuals):
    graph = Graph(inverted_residuals(QuantScheme.U8))
    known = {graph.layer(node) for node, _ in graph.weighted() if node.op_type == "Conv"}
    found = convolutions(sound)
    assert set(found) == known and len(known) == 10
    assert {layer.computes_in for layer in found.values()} == {"int8"}
    assert sound.untimed is None and "1 thread" in sound.source


def test_shares_of_layers_and_of_time_are_whole(sound):
    found = shares(sound)
    assert {"int8", "reformat"} <= {each.computes_in for each in found}
    assert sum(each.share_of_layers for each in found) == pytest.approx(1)
    assert sum(each.share_of_time for each in found) == pytest.approx(1)
    top = slowest(sound)
    times = [layer.time_share for layer in top]
    assert len(top) == 5 and times == sorted(times, reverse=True)
    assert times[0] == max(layer.time_share for layer in sound.layers)


def test_onnxruntime_confirms_what_the_planted_operator_does(sound, planted):
    assert convolutions(sound)[PLANTED].computes_in == "int8"
    assert convolutions(planted)[PLANTED].computes_in == "fp32"
    counts = [{each.computes_in: each.layers for each in shares(view)} for view in (sound, planted)]
    assert counts[1]["reformat"] > counts[0]["reformat"]


def test_operators_that_onnxruntime_takes_apart_keep_their_layer(planted):
    # HardSwish runs as HardSigmoid and Mul, which the optimised graph leaves without a name
    pieces = {layer.operator: layer.layer for layer in planted.layers}
    assert pieces["HardSigmoid"] == "blocks.1.1.conv_pw"


def test_a_refused_model_is_told_in_the_runtimes_words(tmp_path):
    path = tmp_path / "model.onnx"
    path.write_bytes(b"no graph at all")
    with pytest.raises(EnvironmentProblem, match="ONNX Runtime rejects") as caught:
        onnxruntime.view(path, Graph(onnx.ModelProto()), 1)
    assert caught.value.where == str(path)


def test_openvino_names_every_layer_and_its_type(inverted_residuals, tmp_path):
    pytest.importorskip("openvino")
    proto = inverted_residuals(QuantScheme.U8)
    path = tmp_path / "model.onnx"
    onnx.save(proto, path)
    graph = Graph(proto)
    view = openvino.view(path, graph, 1)
    known = {graph.layer(node) for node, _ in graph.weighted()}
    weighted = [each for each in view.layers if each.operator in ("Convolution", "FullyConnected")]
    assert {each.layer for each in weighted} == known and len(known) == len(weighted) == 11
    assert {each.computes_in for each in weighted} == {"int8"}
    found = shares(view)
    assert sum(each.share_of_layers for each in found) == pytest.approx(1)
    assert sum(each.share_of_time for each in found) == pytest.approx(1)
    assert view.untimed is None and "OpenVINO" in view.source and "1 thread" in view.source


def test_openvino_refuses_in_its_own_words(tmp_path):
    pytest.importorskip("openvino")
    path = tmp_path / "model.onnx"
    path.write_bytes(b"no graph at all")
    with pytest.raises(EnvironmentProblem, match="OpenVINO rejects") as caught:
        openvino.view(path, Graph(onnx.ModelProto()), 1)
    assert caught.value.where == str(path)


@pytest.mark.skipif(not HAS_RTX, reason="the TensorRT-RTX builder is not installed")
def test_tensorrt_rtx_names_every_layer_and_its_type(inverted_residuals, tmp_path):
    from tmkd_deploy.engines.tensorrt_rtx import TensorRTRtx
    from tmkd_deploy.targets.catalog import get

    proto = inverted_residuals(QuantScheme.S8)
    onnx.save(proto, tmp_path / "model.onnx")
    TensorRTRtx().build(tmp_path / "model.onnx", "int8", 32, get("rtx-ada"), tmp_path)
    graph = Graph(proto)
    view = tensorrt.view(tmp_path / "int8.layers.json", LayerNames(graph), "tensorrt_rtx")
    known = {graph.layer(node) for node, _ in graph.weighted()}
    assert known <= {layer.layer for layer in view.layers}
    integers = {layer.layer for layer in view.layers if layer.computes_in == "int8"}
    assert len(integers) >= len(known) - 1
    assert view.untimed and all(each.share_of_time is None for each in shares(view))
    assert slowest(view) == []


# Recorded from TensorRT-RTX 1.7.1 building this package's own quickstart student for SM89.
RECORDED = """[
 {"name": "node_conv2d_myl0_1", "kind": "correlation", "inputs": ["Int8"]},
 {"name": "__myl_MulCastAddReluMulMinMaxRounCast_myl0_2", "kind": "kgen", "inputs": ["Float"]},
 {"name": "node_avg_pool2d_myl0_16", "kind": "avgpool", "inputs": ["Half"]},
 {"name": "__myl_MulMinMaxRounCast_myl0_17", "kind": "kgen", "inputs": ["Half"]},
 {"name": "node_linear_myl0_34", "kind": "gemm", "inputs": ["Half"]}
]"""


def test_recorded_layers_are_told_apart(tmp_path):
    nodes = [
        onnx.helper.make_node(
            "Conv",
            [f"x{number}", f"classifier.network.backbone.{layer}.weight"],
            [f"x{number + 1}"],
            name=name,
        )
        for number, (name, layer) in enumerate([("node_conv2d", "stem"), ("node_linear", "fc")])
    ]
    weights = [
        onnx.helper.make_tensor(node.input[1], onnx.TensorProto.FLOAT, [1], [1.0]) for node in nodes
    ]
    graph = onnx.helper.make_graph(nodes, "two layers", [], [], weights)
    path = tmp_path / "int8.layers.json"
    path.write_text(RECORDED)
    view = tensorrt.view(path, LayerNames(Graph(onnx.helper.make_model(graph))), "tensorrt_rtx")
    types = [layer.computes_in for layer in view.layers]
    assert types == ["int8", "pointwise", "fp16", "reformat", "fp16"]
    assert [layer.layer for layer in view.layers] == ["stem", "stem", "stem", "stem", "fc"]
    (found,) = float_layers(view, set())
    assert (found.kind, found.layer) == (Kind.FLOAT_LAYER, "fc")
    assert float_layers(view, {"fc"}) == []
    (conversions,) = reformats(view)
    assert "1 of 5 layers" in conversions.problem and "20 % of all layers" in conversions.problem


@pytest.mark.parametrize("content", ["", '[{"kind": "kgen"}]', "[1]"])
def test_a_broken_list_of_layers_is_a_data_error(tmp_path, content):
    path = tmp_path / "int8.layers.json"
    path.write_text(content)
    with pytest.raises(DataError) as caught:
        tensorrt.view(path, LayerNames(Graph(onnx.ModelProto())), "tensorrt")
    assert caught.value.where == str(path)


def layer(operator, computes_in, name, share):
    return EngineLayer(operator, operator, computes_in, name, share)


def test_only_notable_time_is_a_finding():
    view = EngineView(
        "a profile",
        [
            layer("QLinearConv", "int8", "stem", 0.5),
            layer("MaxPool", "fp32", "stem", 0.3),
            layer("Gemm", "fp32", "fc", 0.01),
            layer("QuantizeLinear", "reformat", None, 0.19),
        ],
    )
    (slow,) = float_layers(view, set())
    assert slow.layer == "stem" and "30 % of the time" in slow.problem
    (conversions,) = reformats(view)
    assert "19 % of the time" in conversions.problem
    assert "MaxPool at or after stem" in conversions.problem
    assert reformats(EngineView("a profile", view.layers[:3])) == []
