"""Exported ONNX files against torch, the standard's own evaluation and what was asked for."""

import copy

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, numpy_helper

from tmkd_deploy.errors import EnvironmentProblem, RequestError
from tmkd_deploy.events import SilentEvents
from tmkd_deploy.export.export import export
from tmkd_deploy.export.reference import reference_logits
from tmkd_deploy.export.torch_to_onnx import to_onnx
from tmkd_deploy.models.classifier import Classifier, create
from tmkd_deploy.quantize.insert import activation_quantizers, insert_quantizers, use_quant_scheme
from tmkd_deploy.records.onnx_model import MODEL, Variant
from tmkd_deploy.records.quant_scheme import QuantScheme
from tmkd_deploy.runtime.onnxruntime_session import create_session
from tmkd_deploy.training.predict import predict

pytest.importorskip("onnxruntime")
FP32 = Variant("student", "fp32")
FP16 = Variant("student", "fp16")
CPU = torch.device("cpu")


def int8(quant_scheme):
    """As the runtimes of this placement want it."""
    rest = "fp16" if quant_scheme is QuantScheme.S8 else "fp32"
    return Variant("student", "int8", quant_scheme, rest)


def tags(path):
    return {entry.key: entry.value for entry in onnx.load(path).metadata_props}


def test_fp32_onnx_computes_what_torch_computes(digits, exported_digits):
    path, record = exported_digits(FP32)
    images = digits.data.images("test")
    expected = predict(digits.classifier(), images, CPU).numpy()
    found = reference_logits(path, images)
    assert found.dtype == np.float32
    assert np.abs(found - expected).max() < 1e-4 * np.abs(expected).max()
    assert record.agreement == 1.0 and record.bytes == path.stat().st_size


def test_the_batch_is_dynamic(digits, exported_digits):
    path, _ = exported_digits(FP32)
    images = digits.data.images("test")[:7]
    one_by_one = reference_logits(path, images, batch_size=1)
    assert np.allclose(one_by_one, reference_logits(path, images, batch_size=7), atol=1e-4)


@pytest.mark.parametrize("variant", [FP32, FP16, int8(QuantScheme.U8)], ids=lambda v: v.name)
def test_the_graph_takes_raw_pixels_and_gives_float32_logits(exported_digits, variant):
    graph = onnx.load(exported_digits(variant)[0]).graph
    (pixels,), (logits,) = graph.input, graph.output
    sizes = [entry.dim_value for entry in pixels.type.tensor_type.shape.dim]
    assert (pixels.name, pixels.type.tensor_type.elem_type) == ("images", TensorProto.UINT8)
    assert sizes == [0, 32, 32, 3]
    assert (logits.name, logits.type.tensor_type.elem_type) == ("logits", TensorProto.FLOAT)
    assert logits.type.tensor_type.shape.dim[1].dim_value == 10


def test_the_opset_is_the_one_asked_for(digits, exported_digits):
    classifier = digits.classifier()
    before = copy.deepcopy(classifier.state_dict())
    newer = to_onnx(classifier, 32, 21)
    default = onnx.load(exported_digits(FP32)[0])
    opsets = [[entry.version for entry in proto.opset_import] for proto in (newer, default)]
    assert opsets == [[21], [20]]
    for name, tensor in classifier.state_dict().items():
        assert torch.equal(tensor, before[name]), f"exporting changed {name}"


@pytest.mark.parametrize("quant_scheme", list(QuantScheme))
def test_int8_graphs_hold_each_quantizer_and_each_weight_once(
    quantized_digits, exported_digits, quant_scheme
):
    network, quantized = quantized_digits(quant_scheme)
    path, record = exported_digits(int8(quant_scheme))
    quantizers = len(activation_quantizers(network.network))
    assert quantizers == quantized.activation_quantizers > 0
    # ONNX Runtime reads the camera's bytes as they are
    assert record.quantize_linear == quantizers - (quant_scheme is QuantScheme.U8)
    assert record.int8_weights == len(quantized.layers) > 10
    assert record.dequantize_linear == quantizers + len(quantized.layers)
    kinds = {
        onnx.numpy_helper.to_array(tensor).dtype.name
        for node in onnx.load(path).graph.node
        if node.op_type == "QuantizeLinear"
        for tensor in onnx.load(path).graph.initializer
        if tensor.name == node.input[2]
    }
    assert kinds == {"int8" if quant_scheme is QuantScheme.S8 else "uint8"}


@pytest.mark.parametrize("quant_scheme", list(QuantScheme))
def test_int8_onnx_decides_as_fake_quantization_does(
    digits, quantized_digits, exported_digits, quant_scheme
):
    network, _ = quantized_digits(quant_scheme)
    use_quant_scheme(network.network, quant_scheme)
    images = digits.data.images("test")
    expected = predict(network, images, CPU).numpy()
    found = reference_logits(exported_digits(int8(quant_scheme))[0], images)
    assert (found.argmax(axis=1) == expected.argmax(axis=1)).mean() >= 0.995
    assert np.median(np.abs(found - expected)) < 1e-2 * np.abs(expected).max()


@pytest.mark.parametrize("precise", [False, True], ids=["fast", "precise"])
def test_int8_onnx_runs_with_and_without_fast_saturating_arithmetic(
    digits, quantized_digits, exported_digits, precise
):
    """Without VNNI the fast mode saturates where weights take all of eight bits."""
    path, _ = exported_digits(int8(QuantScheme.U8))
    session = create_session(str(path), threads=1, precise_int8=precise)
    images = digits.data.images("test")
    found = session.run(["logits"], {"images": images})[0].argmax(axis=1)
    classifier, _ = quantized_digits(QuantScheme.U8)
    use_quant_scheme(classifier.network, QuantScheme.U8)
    expected = predict(classifier, images, CPU).argmax(dim=1).numpy()
    assert (found == expected).mean() >= 0.995


def test_no_two_products_of_the_unsigned_grid_can_saturate_sixteen_bits(exported_digits):
    proto = onnx.load(exported_digits(int8(QuantScheme.U8))[0])
    weights = [numpy_helper.to_array(t) for t in proto.graph.initializer if len(t.dims) > 1]
    largest = max(int(np.abs(weight.astype(int)).max()) for weight in weights)
    assert 0 < 2 * 255 * largest < 2**15


def test_bytes_reach_the_first_layer_unconverted_only_where_that_changes_nothing():
    """An ImageNet normalisation differs from channel to channel, so its arithmetic stays."""
    torch.manual_seed(0)
    for scratch, kinds in ((True, ["Transpose", "DequantizeLinear"]), (False, ["Cast"])):
        classifier, _ = create(
            "resnet10t", 3, {"channels": [8, 8, 8, 8], "stem_width": 8}, 32, scratch=scratch
        )
        network = insert_quantizers(classifier)
        for quantizer in activation_quantizers(network).values():
            quantizer.amax.fill_(127 / 128)
        use_quant_scheme(network, QuantScheme.U8)
        proto = to_onnx(classifier, 32, 20)
        following, name = [], "images"
        for _ in kinds:
            node = next(node for node in proto.graph.node if name in node.input)
            following.append(node.op_type)
            name = node.output[0]
        assert following == kinds


def test_the_graph_computes_no_shapes(exported_digits):
    """They are known but for the batch; arithmetic with them is what slow exports are made of."""
    kinds = {node.op_type for node in onnx.load(exported_digits(FP32)[0]).graph.node}
    assert kinds.isdisjoint({"Shape", "Range", "Gather", "GatherND", "ScatterND"})


def test_files_say_what_they_are(exported_digits):
    assert tags(exported_digits(FP32)[0]) == {
        "tmkd_deploy.model": "student",
        "tmkd_deploy.precision": "fp32",
        "tmkd_deploy.quant_scheme": "none",
    }
    signed = tags(exported_digits(int8(QuantScheme.S8))[0])
    assert signed["tmkd_deploy.precision"] == "int8"
    assert signed["tmkd_deploy.quant_scheme"] == "signed"


@pytest.mark.parametrize("variant", [FP32, FP16, int8(QuantScheme.U8)], ids=lambda v: v.name)
def test_files_tell_nothing_of_the_machine_that_wrote_them(exported_digits, variant):
    content = exported_digits(variant)[0].read_bytes()
    assert b".py" not in content and b"stack_trace" not in content


def test_fp16_weights_are_half_the_size_and_decide_alike(digits, exported_digits):
    path, record = exported_digits(FP16)
    kinds = {t.data_type for t in onnx.load(path).graph.initializer if len(t.dims) > 1}
    assert kinds == {TensorProto.FLOAT16}
    assert record.bytes < 0.75 * exported_digits(FP32)[1].bytes
    logits = reference_logits(path, digits.data.images("test"))
    assert digits.top1(logits) > 0.95


class DependsOnData(torch.nn.Module):
    def forward(self, images):
        features = images.mean(dim=(2, 3))
        if features.sum() > 0:
            features = features * 2
        return features, features


def test_a_network_that_cannot_be_exported_is_refused():
    classifier = Classifier(DependsOnData(), [0.0] * 3, [1.0] * 3)
    with pytest.raises(RequestError, match="could not export"):
        to_onnx(classifier, 32, 20)


class Drifts(torch.nn.Module):
    """Computes in a file something else than in torch."""

    def __init__(self, inner):
        super().__init__()
        self.inner = inner

    def forward(self, images):
        logits, features = self.inner(images)
        return (logits + 1.0 if torch.compiler.is_exporting() else logits), features


def test_a_file_that_computes_something_else_is_refused(digits, tmp_path):
    classifier = digits.classifier()
    classifier.network = Drifts(classifier.network)
    with pytest.raises(EnvironmentProblem, match="does not match torch"):
        export(digits.recipe, digits.data, classifier, FP32, tmp_path, SilentEvents())
    assert (tmp_path / MODEL).exists()
