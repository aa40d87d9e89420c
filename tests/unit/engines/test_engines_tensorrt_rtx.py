"""TensorRT-RTX builds engines ahead of time, on a machine without a GPU."""

import json

import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper

from tmkd_deploy.engines.interface import variant_for
from tmkd_deploy.engines.tensorrt_rtx import TensorRTRtx
from tmkd_deploy.errors import DataError, EnvironmentProblem
from tmkd_deploy.events import SilentEvents
from tmkd_deploy.export.export import export
from tmkd_deploy.quantize.quantize import post_training_quantized
from tmkd_deploy.records.onnx_model import MODEL
from tmkd_deploy.records.quant_scheme import QuantScheme
from tmkd_deploy.targets.catalog import get

pytest.importorskip("tensorrt_rtx", reason="the TensorRT-RTX builder is not installed")
ADA = get("rtx-ada")


@pytest.fixture(scope="module")
def engines(exported_digits, tmp_path_factory):
    folder = tmp_path_factory.mktemp("rtx")
    rtx = TensorRTRtx()
    files = {
        precision: rtx.build(
            exported_digits(variant_for(rtx, precision))[0], precision, 32, ADA, folder
        )
        for precision in ("fp32", "fp16", "int8")
    }
    return files, folder


def test_each_precision_becomes_an_engine(engines):
    files, folder = engines
    for precision, file in files.items():
        assert file.file == f"{precision}.engine"
        assert file.bytes == (folder / file.file).stat().st_size > 10_000
        assert file.total_layers is not None and file.total_layers > 0


def test_only_the_int8_engine_computes_in_integers(engines, quantized_digits):
    files, folder = engines
    assert files["fp32"].int8_layers == files["fp16"].int8_layers == 0
    assert files["int8"].int8_layers >= 8
    layers = json.loads((folder / "int8.layers.json").read_text())
    assert sum("Int8" in layer["inputs"] for layer in layers) >= files["int8"].int8_layers


@pytest.fixture(scope="module")
def small_scales(digits, tmp_path_factory):
    """The exported digits, with a dead channel and channels from FP16's range downwards."""
    student = digits.student()
    norm = next(
        each for each in student.classifier.modules() if isinstance(each, torch.nn.BatchNorm2d)
    )
    with torch.no_grad():
        norm.weight *= 2.0 ** -torch.arange(4.0, 4.0 + 3 * len(norm.weight), 3.0)
        norm.weight[-1] = norm.bias[-1] = 0.0
    classifier = post_training_quantized(
        digits.recipe, digits.data, student, QuantScheme.S8, SilentEvents()
    )
    folder = tmp_path_factory.mktemp("small scales")
    variant = variant_for(TensorRTRtx(), "int8")
    export(digits.recipe, digits.data, classifier, variant, folder, SilentEvents())
    return folder / MODEL


def test_a_dead_channel_and_scales_below_fp16s_range_are_built(small_scales, tmp_path):
    constants = {
        tensor.name: numpy_helper.to_array(tensor)
        for tensor in onnx.load(small_scales).graph.initializer
    }
    halves = np.concatenate(
        [array.reshape(-1) for array in constants.values() if array.dtype == np.float16]
    )
    assert np.finfo(np.float16).smallest_subnormal in halves
    engine = TensorRTRtx().build(small_scales, "int8", 32, ADA, tmp_path)
    assert engine.int8_layers is not None and engine.int8_layers >= 8


def test_the_builder_refuses_a_scale_that_became_zero(small_scales, tmp_path):
    proto = onnx.load(small_scales)
    scales = {node.input[1] for node in proto.graph.node if node.op_type == "DequantizeLinear"}
    for tensor in proto.graph.initializer:
        if tensor.name in scales:
            values = numpy_helper.to_array(tensor)
            zeroed = np.where(values > np.finfo(np.float16).smallest_subnormal, values, 0)
            tensor.CopyFrom(numpy_helper.from_array(zeroed.astype(np.float16), tensor.name))
    onnx.save(proto, tmp_path / "model.onnx")
    with pytest.raises(EnvironmentProblem, match="scale"):
        TensorRTRtx().build(tmp_path / "model.onnx", "int8", 32, ADA, tmp_path)


@pytest.mark.parametrize("content", [b"no graph at all", b"", b"\x08\x07" * 400])
def test_garbage_is_a_data_error(tmp_path, content):
    garbage = tmp_path / "model.onnx"
    garbage.write_bytes(content)
    (tmp_path / "out").mkdir()
    with pytest.raises(DataError) as caught:
        TensorRTRtx().build(garbage, "fp32", 32, ADA, tmp_path / "out")
    assert caught.value.where == str(garbage)


def test_an_unknown_gpu_names_the_builder(exported_digits, tmp_path):
    rtx = TensorRTRtx()
    future = ADA.model_copy(update={"compute_capability": "SM999"})
    path, _ = exported_digits(variant_for(rtx, "fp32"))
    with pytest.raises(EnvironmentProblem, match="cannot build for SM999"):
        rtx.build(path, "fp32", 32, future, tmp_path)


def test_engines_are_not_run_here(engines):
    with pytest.raises(EnvironmentProblem, match="RTX GPU"):
        TensorRTRtx().open(engines[1] / "int8.engine", 1)
