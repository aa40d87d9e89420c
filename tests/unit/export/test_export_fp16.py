"""Typing as FP16: what is typed, what is not, and that the result is modelopt's."""

import collections

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

from tmkd_deploy.errors import RequestError
from tmkd_deploy.export.fp16 import to_fp16
from tmkd_deploy.export.torch_to_onnx import to_onnx
from tmkd_deploy.models.classifier import Classifier, create
from tmkd_deploy.quantize.insert import insert_quantizers, use_quant_scheme
from tmkd_deploy.records.quant_scheme import QuantScheme

onnxruntime = pytest.importorskip("onnxruntime")
FLOAT, HALF = TensorProto.FLOAT, TensorProto.FLOAT16
SIDE = 32


def value(name, shape, kind=FLOAT):
    return helper.make_tensor_value_info(name, kind, shape)


def graph_of(nodes, constants, inputs=("x",), outputs=("y",), shape=(1, 2, 4, 4), opset=20):
    """A checked model with inputs of `shape`, outputs of any four-dimensional one."""
    stored = [numpy_helper.from_array(np.asarray(array), name) for name, array in constants.items()]
    graph = helper.make_graph(
        nodes,
        "graph",
        [value(name, shape) for name in inputs],
        [value(name, list("abcd")) for name in outputs],
        stored,
    )
    opsets = [helper.make_opsetid("", opset), helper.make_opsetid("vendor", 1)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=10)


def run(proto, **inputs):
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 3
    serialized = proto.SerializeToString()
    session = onnxruntime.InferenceSession(serialized, options, ["CPUExecutionProvider"])
    return session.run(None, inputs)


def kinds_of(proto):
    """The type of every tensor, as inferred."""
    inferred = onnx.shape_inference.infer_shapes(proto, check_type=True, strict_mode=True).graph
    values = (*inferred.input, *inferred.output, *inferred.value_info)
    kinds = {each.name: each.type.tensor_type.elem_type for each in values}
    return kinds | {tensor.name: tensor.data_type for tensor in inferred.initializer}


def operators(proto):
    return collections.Counter(node.op_type for node in proto.graph.node)


def constants_of(proto):
    return {tensor.name: numpy_helper.to_array(tensor) for tensor in proto.graph.initializer}


@pytest.mark.parametrize("model", ["resnet10t", "mobilenetv4_conv_small_050"])
def test_it_agrees_with_modelopt(model):
    autocast = pytest.importorskip("modelopt.onnx.autocast")
    torch.manual_seed(0)
    classifier, _ = create(model, 10, {}, SIDE, scratch=True)
    proto = to_onnx(classifier.eval(), SIDE, 20)
    ours = to_fp16(proto)
    theirs = autocast.convert_to_f16(proto, low_precision_type="fp16", keep_io_types=True, opset=20)
    theirs.ir_version = ours.ir_version  # theirs is onnx's newest, which older runtimes refuse
    assert operators(ours) == operators(theirs)
    images = np.random.default_rng(0).integers(0, 256, (4, SIDE, SIDE, 3), dtype=np.uint8)
    (found,), (expected,) = run(ours, images=images), run(theirs, images=images)
    assert found.dtype == expected.dtype == np.float32
    assert np.abs(found - expected).max() < 1e-5 * np.abs(expected).max()


def test_everything_inside_is_fp16_and_the_ends_stay_fp32():
    nodes = [
        helper.make_node("Mul", ["x", "w"], ["a"]),
        helper.make_node("Relu", ["a"], ["y"]),
        helper.make_node("Add", ["y", "x"], ["z"]),
    ]
    weights = np.full((1, 2, 1, 1), 0.5, np.float32)
    typed = to_fp16(graph_of(nodes, {"w": weights}, outputs=("y", "z")))
    kinds = kinds_of(typed)
    assert {name for name, kind in kinds.items() if kind == FLOAT} == {"x", "y", "z"}
    assert operators(typed)["Cast"] == 3
    x = np.arange(-16, 16, dtype=np.float32).reshape(1, 2, 4, 4)
    y, z = run(typed, x=x)
    assert np.array_equal(y, np.maximum(x / 2, 0)) and np.array_equal(z, y + x)


def test_an_input_that_must_be_fp32_keeps_it_although_another_node_reads_it_as_fp16():
    scales = np.array([1, 1, 2, 2], np.float32)
    nodes = [
        helper.make_node("Resize", ["x", "", "scales"], ["a"], mode="nearest"),
        helper.make_node("Mul", ["scales", "scales"], ["squares"]),
        helper.make_node("Resize", ["a", "", "squares"], ["b"], mode="nearest"),
        helper.make_node("Mul", ["b", "scales_of_rows"], ["y"]),
    ]
    constants = {"scales": scales, "scales_of_rows": np.ones((1, 1, 1, 1), np.float32)}
    typed = to_fp16(graph_of(nodes, constants))
    kinds = kinds_of(typed)
    resizes = [node for node in typed.graph.node if node.op_type == "Resize"]
    assert [(kinds[node.input[0]], kinds[node.input[2]]) for node in resizes] == [(HALF, FLOAT)] * 2
    multiply = next(node for node in typed.graph.node if node.op_type == "Mul")
    assert {kinds[name] for name in multiply.input} == {HALF}
    x = np.arange(32, dtype=np.float32).reshape(1, 2, 4, 4)
    [y] = run(typed, x=x)
    assert y.shape == (1, 2, 32, 32) and y.sum() == 64 * x.sum()


def test_an_output_that_must_be_fp32_is_cast_behind_the_node():
    nodes = [
        helper.make_node("LayerNormalization", ["x", "w"], ["a", "mean"], axis=-1),
        helper.make_node("Add", ["a", "mean"], ["y"]),
    ]
    typed = to_fp16(graph_of(nodes, {"w": np.ones(4, np.float32)}))
    add = next(node for node in typed.graph.node if node.op_type == "Add")
    assert {kinds_of(typed)[name] for name in add.input} == {HALF}


def test_types_that_attributes_decide_follow():
    constant = numpy_helper.from_array(np.full((1, 2, 1, 1), 3, np.float32))
    zeros = np.array([1, 2, 4, 4], np.int64)
    nodes = [
        helper.make_node("Constant", [], ["three"], value=constant),
        helper.make_node("ConstantOfShape", ["shape"], ["zeros"]),
        helper.make_node("Cast", ["x"], ["integers"], to=TensorProto.INT32),
        helper.make_node("Cast", ["integers"], ["floats"], to=FLOAT),
        helper.make_node("Mul", ["floats", "three"], ["a"]),
        helper.make_node("Add", ["a", "zeros"], ["y"]),
    ]
    typed = to_fp16(graph_of(nodes, {"shape": zeros}))
    kinds = kinds_of(typed)
    assert {kinds[name] for name in ("three", "zeros", "floats", "a")} == {HALF}
    assert kinds["integers"] == TensorProto.INT32
    x = np.arange(32, dtype=np.float32).reshape(1, 2, 4, 4)
    assert np.array_equal(run(typed, x=x)[0], 3 * x)


def test_constants_stay_within_the_range_of_fp16_and_scales_above_zero():
    beyond = np.array([1e9, -1e9, 1e-12, -1e-12, 0, 0.1], np.float32).reshape(1, 6, 1, 1)
    nodes = [helper.make_node("Mul", ["x", "w"], ["y"])]
    typed = to_fp16(graph_of(nodes, {"w": beyond}, shape=(1, 6, 4, 4)))
    found = constants_of(typed)["w"].reshape(-1)
    smallest = np.finfo(np.float16).smallest_subnormal
    assert found.dtype == np.float16
    assert found.tolist() == [65504, -65504, smallest, -smallest, 0, np.float16(0.1)]


def test_quantized_layers_keep_their_integers_and_take_fp16_scales():
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "scale", "zero"], ["q"]),
        helper.make_node("DequantizeLinear", ["q", "scale", "zero"], ["a"]),
        helper.make_node("DequantizeLinear", ["w", "scales", "zeros"], ["b"], axis=0),
        helper.make_node("Conv", ["a", "b"], ["y"]),
    ]
    weights = np.arange(6, dtype=np.int8).reshape(3, 2, 1, 1)
    constants = {
        "scale": np.float32(0.25),
        "zero": np.int8(0),
        "w": weights,
        "scales": np.full(3, 0.5, np.float32),
        "zeros": np.zeros(3, np.int8),
    }
    typed = to_fp16(graph_of(nodes, constants))
    kinds = kinds_of(typed)
    assert kinds["q"] == kinds["w"] == TensorProto.INT8
    assert {kinds[name] for name in ("scale", "scales", "a", "b")} == {HALF}
    assert np.array_equal(constants_of(typed)["w"], weights)


class OneLayer(torch.nn.Module):
    """A convolution whose channels get smaller and smaller; the last one is dead."""

    def __init__(self):
        super().__init__()
        self.convolution = torch.nn.Conv2d(3, 16, 1)
        amax = 127.0 * 1.3 * 2.0 ** -torch.arange(12.0, 28.0)
        weight = self.convolution.weight.detach()
        self.convolution.weight.data = weight / weight.abs().amax(1, keepdim=True)
        self.convolution.weight.data *= amax.reshape(16, 1, 1, 1)
        self.convolution.weight.data[-1] = 0.0

    def forward(self, images):
        features = self.convolution(images).mean(dim=(2, 3))
        return features, features


def test_small_scales_are_those_that_their_integers_were_rounded_with():
    torch.manual_seed(0)
    classifier = Classifier(OneLayer(), [0.5] * 3, [0.5] * 3).eval()
    weight = classifier.network.convolution.weight.detach().clone()
    use_quant_scheme(insert_quantizers(classifier), QuantScheme.S8)
    proto = to_onnx(classifier, SIDE, 20)
    (weights,) = (
        node
        for node in proto.graph.node
        if node.op_type == "DequantizeLinear"
        and any(each.name == "axis" for each in node.attribute)
    )
    integers, full, half = (
        constants_of(each)[name]
        for each, name in (
            (proto, weights.input[0]),
            (proto, weights.input[1]),
            (to_fp16(proto), weights.input[1]),
        )
    )
    assert half.dtype == np.float16 and (half > 0).all()
    small = full < np.finfo(np.float16).smallest_normal
    assert small.sum() == 13
    np.testing.assert_array_equal(half[small], full[small])
    # hence no weight is further than half a step from torch's
    weight = weight.numpy().reshape(16, 3)
    wrong = np.abs(integers.reshape(16, 3) * half[:, None].astype(np.float32) - weight)
    assert (wrong <= 0.51 * half[:, None].astype(np.float32)).all()


def test_what_cannot_be_typed_is_refused_by_name():
    branch = helper.make_graph(
        [helper.make_node("Relu", ["x"], ["b"])], "b", [], [value("b", None)]
    )
    decides = helper.make_node(
        "If", ["yes"], ["y"], "choice", then_branch=branch, else_branch=branch
    )
    with pytest.raises(RequestError, match="If node 'choice' contains a subgraph"):
        to_fp16(graph_of([decides], {"yes": np.array(True)}))
    own = helper.make_node("Swish", ["x"], ["y"], domain="vendor")
    with pytest.raises(RequestError, match=r"does not define its operator vendor\.Swish"):
        to_fp16(graph_of([own], {}))
