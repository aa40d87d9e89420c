"""Files for readers of opset 17, such as TensorRT 8: older operators, nothing in FP16."""

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper

from tmkd_deploy.engines.variants import variants_for
from tmkd_deploy.errors import RequestError
from tmkd_deploy.export.older_opset import lowered
from tmkd_deploy.export.reference import reference_logits
from tmkd_deploy.quantize.insert import use_quant_scheme
from tmkd_deploy.records.onnx_model import MODULE, Variant
from tmkd_deploy.records.quant_scheme import QuantScheme
from tmkd_deploy.targets.catalog import get
from tmkd_deploy.training.predict import predict

pytest.importorskip("onnxruntime")
XAVIER = get("jetson-xavier-nx")
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def int8(exported_digits):
    return exported_digits(variants_for(XAVIER, "int8")[0])


def test_the_int8_file_is_one_that_tensorrt_8_reads(int8, quantized_digits):
    proto = onnx.load(int8[0])
    assert [(entry.domain, entry.version) for entry in proto.opset_import] == [("", 17)]
    assert int8[1].opset == 17
    onnx.checker.check_model(proto, full_check=True)
    stored = {tensor.name: tensor for tensor in proto.graph.initializer}
    # neither FP16 nor weights in int8; what is left in int8 are the zero points
    kinds = {tensor.data_type for tensor in stored.values() if np.prod(tensor.dims) > 1024}
    assert kinds == {TensorProto.FLOAT}
    assert TensorProto.FLOAT16 not in {tensor.data_type for tensor in stored.values()}
    _, quantized = quantized_digits(QuantScheme.S8)
    quantizes = [node for node in proto.graph.node if node.op_type == "QuantizeLinear"]
    weights = [node for node in quantizes if node.input[0] in stored]
    assert len(weights) == len(quantized.layers)
    assert {node.attribute[0].i for node in weights} == {0}
    assert len(quantizes) == len(weights) + quantized.activation_quantizers
    assert int8[1].quantize_linear == int8[1].dequantize_linear == len(quantizes)
    assert int8[1].int8_weights == 0
    for node in quantizes:
        assert not onnx.numpy_helper.to_array(stored[node.input[2]]).any(), "a zero point"


def test_the_int8_file_computes_what_the_newer_one_does(digits, quantized_digits, int8):
    network, _ = quantized_digits(QuantScheme.S8)
    use_quant_scheme(network.network, QuantScheme.S8)
    images = digits.data.images("test")
    expected = predict(network, images, CPU).numpy()
    found = reference_logits(int8[0], images)
    assert (found.argmax(axis=1) == expected.argmax(axis=1)).mean() >= 0.995
    assert np.median(np.abs(found - expected)) < 1e-3 * np.abs(expected).max()


def test_the_fp32_file_computes_what_torch_does(digits, exported_digits):
    path, record = exported_digits(variants_for(XAVIER, "fp16")[0])
    assert record.opset == 17 and record.variant == "student-fp32-opset17"
    images = digits.data.images("test")
    expected = predict(digits.classifier(), images, CPU).numpy()
    assert np.abs(reference_logits(path, images) - expected).max() < 1e-4 * np.abs(expected).max()


def test_two_opsets_are_two_files(exported_digits):
    older, newer = (Variant("student", "fp32", opset=opset) for opset in (17, None))
    assert older.name != newer.name
    versions = [
        onnx.load(exported_digits(each)[0]).opset_import[0].version for each in (older, newer)
    ]
    assert versions == [17, 20]


def test_an_operator_without_an_older_form_is_refused_with_its_layer():
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 4]) for name in "xy"]
    node = helper.make_node("Gelu", ["x"], ["y"], name="node_gelu")
    node.metadata_props.add(key=MODULE, value="blocks.0.act")
    graph = helper.make_graph([node], "graph", values[:1], values[1:])
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    with pytest.raises(RequestError, match="cannot be converted to opset 17") as caught:
        lowered(proto, 17)
    assert caught.value.where == "blocks.0.act"
    assert "Gelu" in caught.value.problem
