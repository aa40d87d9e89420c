"""ONNX Runtime engines: integers where they are asked for, and torch's own decisions."""

import numpy as np
import onnx
import pytest
import torch

from tmkd_deploy.engines.build import build
from tmkd_deploy.engines.interface import variant_for
from tmkd_deploy.engines.model_file import read_model
from tmkd_deploy.engines.onnxruntime import OnnxRuntime
from tmkd_deploy.engines.registry import runtime
from tmkd_deploy.errors import DataError, EnvironmentProblem
from tmkd_deploy.events import SilentEvents
from tmkd_deploy.quantize.insert import use_quant_scheme
from tmkd_deploy.records.onnx_model import Variant
from tmkd_deploy.records.quant_scheme import QuantScheme
from tmkd_deploy.targets.catalog import get
from tmkd_deploy.training.predict import predict

pytest.importorskip("onnxruntime")
CPU = get("cpu")
S8 = Variant("student", "int8", QuantScheme.S8, "fp16")


@pytest.fixture(scope="module")
def engines(exported_digits, tmp_path_factory):
    folder = tmp_path_factory.mktemp("engines")
    names = ("int8", "fp32")
    models = {name: exported_digits(variant_for(OnnxRuntime(), name))[0] for name in names}
    return build(CPU, models, 32, folder, SilentEvents()), folder


def test_the_int8_engine_decides_as_the_fake_quantized_student(digits, quantized_digits, engines):
    network, _ = quantized_digits(QuantScheme.U8)
    use_quant_scheme(network.network, QuantScheme.U8)
    images = digits.data.images("test")
    expected = predict(network, images, torch.device("cpu")).numpy()
    session = OnnxRuntime().open(engines[1] / "int8.onnx", 1)
    found = np.concatenate([session.infer(images[i : i + 1]) for i in range(len(images))])
    assert (found.argmax(axis=1) == expected.argmax(axis=1)).mean() >= 0.995
    assert digits.top1(found) > 0.95


def test_every_convolution_of_the_int8_engine_runs_in_integers(quantized_digits, engines):
    _, quantized = quantized_digits(QuantScheme.U8)
    files = {file.precision: file for file in engines[0].engines}
    assert files["int8"].total_layers == len(quantized.layers)
    # the last layer, whose output nothing rounds, may stay in floating point
    assert files["int8"].int8_layers >= len(quantized.layers) - 1
    assert files["fp32"].int8_layers == 0
    assert files["fp32"].total_layers == len(quantized.layers)
    assert files["int8"].bytes < 0.6 * files["fp32"].bytes
    assert engines[0].kit == []


def test_the_same_image_alone_and_in_a_batch_gives_the_same_decision(digits, engines):
    images = digits.data.images("test")[:16]
    session = OnnxRuntime().open(engines[1] / "fp32.onnx", 1)
    together = session.infer(np.ascontiguousarray(images))
    alone = np.concatenate([session.infer(images[i : i + 1]) for i in range(16)])
    assert np.allclose(together, alone, atol=1e-4)


@pytest.mark.parametrize(
    ("name", "variant", "target"),
    [
        ("onnxruntime", S8, "cpu"),
        ("tensorrt", Variant("student", "int8", QuantScheme.U8), "jetson"),
        ("tensorrt_rtx", Variant("student", "int8", QuantScheme.U8), "rtx-ada"),
    ],
)
def test_another_runtimes_file_is_refused(exported_digits, tmp_path, name, variant, target):
    path, _ = exported_digits(variant)
    with pytest.raises(DataError, match="quantized for another runtime") as caught:
        runtime(name).build(path, "int8", 32, get(target), tmp_path)
    assert caught.value.where == str(path)
    assert variant.quant_scheme.value in caught.value.problem
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("quant_scheme", list(QuantScheme))
def test_a_file_without_quantization_suits_every_runtime(exported_digits, quant_scheme):
    read_model(exported_digits(Variant("student", "fp32"))[0], quant_scheme, 32, CPU)


@pytest.mark.parametrize("content", [b"no graph at all", b"", b"\x08\x07" * 400])
@pytest.mark.parametrize("name", ["onnxruntime", "tensorrt"])
def test_garbage_is_a_data_error(tmp_path, content, name):
    garbage = tmp_path / "model.onnx"
    garbage.write_bytes(content)
    (tmp_path / "out").mkdir()
    with pytest.raises(DataError) as caught:
        runtime(name).build(garbage, "fp32", 32, get("cpu"), tmp_path / "out")
    assert caught.value.where == str(garbage)


def test_a_model_the_runtime_cannot_run_is_the_runtimes_refusal(tmp_path):
    node = onnx.helper.make_node("NoSuchOperator", ["a"], ["b"])
    values = [
        onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [1]) for name in "ab"
    ]
    graph = onnx.helper.make_graph([node], "odd", values[:1], values[1:])
    path = tmp_path / "model.onnx"
    onnx.save(onnx.helper.make_model(graph), path)
    with pytest.raises(EnvironmentProblem, match=r"ONNX Runtime .* rejects"):
        OnnxRuntime().open(path, 1)
