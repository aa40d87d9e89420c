"""Broken and unfitting ONNX files, and operators a builder rejects: the same words from each."""

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from tmkd_deploy.engines.interface import variant_for
from tmkd_deploy.engines.registry import runtime
from tmkd_deploy.errors import DataError, EnvironmentProblem
from tmkd_deploy.records.onnx_model import MODULE, Variant
from tmkd_deploy.targets.catalog import get

pytest.importorskip("onnxruntime")
TARGETS = {
    "onnxruntime": "cpu",
    "openvino": "cpu-openvino",
    "tensorrt": "jetson",
    "tensorrt_rtx": "rtx-ada",
}


@pytest.fixture(params=list(TARGETS))
def builder(request, tmp_path):
    """Builds a graph by one runtime: `builder(proto)`."""
    if request.param == "openvino":
        pytest.importorskip("openvino")
    if request.param == "tensorrt_rtx":
        pytest.importorskip("tensorrt_rtx", reason="the TensorRT-RTX builder is not installed")
    (tmp_path / "out").mkdir()

    def build(content, image_size=32, name=request.param):
        file = tmp_path / "model.onnx"
        if not isinstance(content, bytes):
            content = content.SerializeToString()
        file.write_bytes(content)
        build.file = file
        profile = get(TARGETS[name])
        return runtime(name).build(file, "fp32", image_size, profile, tmp_path / "out")

    build.name = request.param
    return build


@pytest.fixture
def model(exported_digits):
    return onnx.load(exported_digits(Variant("student", "fp32"))[0])


def refused(builder, content, kind=DataError, **arguments):
    with pytest.raises(kind) as caught:
        builder(content, **arguments)
    assert caught.value.where == str(builder.file)
    assert caught.value.advice
    return caught.value.problem


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9, 0.999])
def test_a_truncated_file_is_refused(builder, model, share):
    content = model.SerializeToString()
    problem = refused(builder, content[: int(share * len(content))])
    assert "is truncated" in problem


def test_a_file_cut_where_the_format_does_not_notice_is_refused(builder, model):
    # the opset follows the graph in the file, so a cut between them leaves a readable message
    model.ClearField("opset_import")
    assert "is truncated" in refused(builder, model)


@pytest.mark.parametrize("there", [True, False])
def test_weights_in_another_file_are_refused(builder, model, tmp_path, there):
    weight = max(model.graph.initializer, key=lambda tensor: len(tensor.raw_data))
    if there:
        (tmp_path / "weights.bin").write_bytes(weight.raw_data)
    onnx.external_data_helper.set_external_data(weight, "weights.bin")
    weight.ClearField("raw_data")
    problem = refused(builder, model)
    assert repr(weight.name) in problem and "'weights.bin'" in problem
    assert ("which is missing" in problem) is not there


def test_another_image_size_is_refused(builder, model):
    problem = refused(builder, model, image_size=64)
    assert "images of shape any x 32 x 32 x 3" in problem and "1 x 64 x 64 x 3" in problem


def test_a_fixed_batch_is_refused(builder, model):
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 8
    assert "images of shape 8 x 32 x 32 x 3" in refused(builder, model)


def test_a_second_input_is_refused(builder, model):
    shape = [None, None]
    extra = onnx.helper.make_tensor_value_info("mask", onnx.TensorProto.FLOAT, shape)
    model.graph.input.append(extra)
    assert "and mask of shape any x any" in refused(builder, model)


def test_open_sides_are_fixed_by_the_engine(builder, model):
    for side in (1, 2):
        model.graph.input[0].type.tensor_type.shape.dim[side].dim_param = "side"
    assert builder(model).bytes > 0


def test_an_opset_the_target_cannot_read_is_refused(builder, model):
    target = get(TARGETS[builder.name])
    model.opset_import[0].version = target.opset_ceiling + 1
    problem = refused(builder, model)
    assert repr(target.name) in problem and f"up to opset {target.opset_ceiling}" in problem


def test_an_operator_without_a_meaning_is_refused(builder, model):
    model.graph.node[5].op_type = "NoSuchOperator"
    assert "NoSuchOperator" in refused(builder, model)


def planted(model, inside):
    """The model with an operator after `inside`'s convolution that no builder knows."""
    conv = next(
        node
        for node in model.graph.node
        if node.op_type == "Conv" and any(entry.value == inside for entry in node.metadata_props)
    )
    place = list(model.graph.node).index(conv)
    odd = onnx.helper.make_node(
        "Mystery", [conv.output[0]], ["odd_values"], name="odd_node", domain="com.example"
    )
    for node in model.graph.node:
        for number, name in enumerate(node.input):
            if name == conv.output[0]:
                node.input[number] = "odd_values"
    model.graph.node.insert(place + 1, odd)
    model.opset_import.add(domain="com.example", version=1)
    return odd


@pytest.mark.parametrize("noted", [True, False])
@pytest.mark.parametrize("name", ["onnxruntime", "openvino", "tensorrt_rtx"])
def test_a_refused_operator_is_named_with_its_module(tmp_path, model, name, noted):
    if name == "openvino":
        pytest.importorskip("openvino")
    if name == "tensorrt_rtx":
        pytest.importorskip("tensorrt_rtx", reason="the TensorRT-RTX builder is not installed")
    odd = planted(model, "layer2.0.conv1")
    if noted:
        model.graph.node[list(model.graph.node).index(odd)].metadata_props.add(
            key=MODULE, value="layer2.0.odd"
        )
    file = tmp_path / "model.onnx"
    onnx.save(model, file)
    with pytest.raises(EnvironmentProblem) as caught:
        runtime(name).build(file, "fp32", 32, get(TARGETS[name]), tmp_path)
    module = "layer 'layer2.0.odd'" if noted else "after layer 'layer2.0.conv1'"
    assert f"rejects {module}, the Mystery node 'odd_node': " in caught.value.problem
    # the builder's own words follow
    assert "Mystery" in caught.value.problem.partition("odd_node': ")[2]
    assert caught.value.where == str(file)


@pytest.mark.parametrize("precision", ["fp32", "fp16", "int8"])
def test_every_layer_of_a_file_carries_its_module(exported_digits, precision):
    variant = variant_for(runtime("tensorrt_rtx"), precision)
    proto = onnx.load(exported_digits(variant)[0])
    modules = {
        node.name: entry.value
        for node in proto.graph.node
        for entry in node.metadata_props
        if entry.key == MODULE
    }
    weighted = [node.name for node in proto.graph.node if node.op_type in ("Conv", "Gemm")]
    assert len({modules[name] for name in weighted}) == len(weighted) == 16
    assert {"conv1.0", "layer1.0.conv1", "layer4.0.downsample.1", "fc"} <= set(modules.values())


def test_a_constant_of_zeros_is_no_truncation(builder, model):
    # a file in which nothing is wrong, to show that the checks let it pass
    zeros = numpy_helper.from_array(np.zeros(3, np.float32), "unused")
    model.graph.initializer.append(zeros)
    assert builder(model).bytes > 0
