"""The classifier of a proof: made alike each time, without torch, and alike in every precision."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from tmkd_deploy.engines.registry import runtime
from tmkd_deploy.errors import EnvironmentProblem
from tmkd_deploy.export.reference import reference_logits
from tmkd_deploy.prove import network, quantized
from tmkd_deploy.prove.images import CLASSES, striped
from tmkd_deploy.quantize import quantizers
from tmkd_deploy.records.quant_scheme import QuantScheme
from tmkd_deploy.targets import catalog

SIDE = 32
S8, U8 = QuantScheme.S8, QuantScheme.U8


@pytest.fixture(scope="module")
def small() -> network.Network:
    return network.make(16, SIDE)


def logits(proto: onnx.ModelProto, folder: Path) -> np.ndarray:
    path = folder / "model.onnx"
    onnx.save(proto, str(path))
    return reference_logits(path, striped(100, SIDE, 5))


def test_the_same_arguments_give_the_same_file(small) -> None:
    first, second = (
        quantized.typed(each, "int8", S8, network.OPSET, "run").SerializeToString()
        for each in (small, network.make(16, SIDE))
    )
    assert first == second
    other = quantized.typed(small, "int8", S8, network.OPSET, "another run").SerializeToString()
    assert other != first, "a device would take its engine from its cache"


@pytest.mark.parametrize(
    ("precision", "scheme", "opset"),
    [("fp16", S8, 19), ("int8", S8, 19), ("int8", S8, 17), ("int8", U8, 19)],
)
def test_every_precision_decides_alike_and_well(small, tmp_path, precision, scheme, opset) -> None:
    plain = logits(quantized.typed(small, "fp32", S8, 19, "run"), tmp_path)
    found = logits(quantized.typed(small, precision, scheme, opset, "run"), tmp_path)
    wanted = np.arange(100) % CLASSES
    assert (plain.argmax(axis=1) == wanted).mean() > 0.8
    assert (found.argmax(axis=1) == plain.argmax(axis=1)).mean() >= 0.95
    assert np.abs(found - plain).max() > 0, "rounding has left no trace"


def test_channels_without_weights_keep_a_scale_in_fp16(small) -> None:
    proto = quantized.typed(small, "int8", S8, network.OPSET, "run")
    constants = {each.name: numpy_helper.to_array(each) for each in proto.graph.initializer}
    scales = constants["conv2_weight_scale"]
    assert scales.dtype == np.float16
    assert (scales > 0).all()
    weight = small.convolutions[1].weight
    assert not weight[network.DEAD].any()
    natural = np.abs(weight[network.TINY]).max() / 127
    assert natural > 0 and np.float16(natural) == 0, "FP16 would hold it without a floor"


def test_scales_have_the_floor_of_those_that_students_are_trained_with() -> None:
    torch = pytest.importorskip("torch")
    scales = np.array([0.0, 1e-12, 2.0**-24, 3e-7, 2.0**-14, 1.0], np.float32)
    ours = quantized.kept_by_fp16(scales)
    np.testing.assert_array_equal(ours, quantizers._kept_by_fp16(torch.tensor(scales)).numpy())


def test_weights_stay_in_floating_point_for_releases_before_ten(small) -> None:
    def weights(opset: int) -> int:
        proto = quantized.typed(small, "int8", S8, opset, "run")
        return sum(
            tensor.data_type == onnx.TensorProto.INT8 and len(tensor.dims) > 1
            for tensor in proto.graph.initializer
        )

    assert weights(17) == 0 and weights(19) == 5


def test_images_differ_by_seed_and_not_by_chance() -> None:
    assert np.array_equal(striped(8, SIDE, 1), striped(8, SIDE, 1))
    assert not np.array_equal(striped(8, SIDE, 1), striped(8, SIDE, 2))


def test_a_proof_needs_no_torch() -> None:
    program = (
        "import sys; from tmkd_deploy.prove import run, network, quantized, workbench; "
        "network.make(4, 32); assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", program], check=True, timeout=120)


def test_the_real_tensorrt_rtx_builds_every_precision(small, tmp_path) -> None:
    pytest.importorskip("tensorrt_rtx", reason="TensorRT-RTX is not installed")
    profile = catalog.get("rtx-ada")
    for precision in profile.precisions:
        path = tmp_path / "model.onnx"
        onnx.save(quantized.typed(small, precision, S8, network.OPSET, "run"), str(path))
        engine = runtime("tensorrt_rtx").build(path, precision, SIDE, profile, tmp_path)
        assert engine.total_layers == 5
        assert engine.int8_layers == (5 if precision == "int8" else 0)


def test_the_real_tensorrt_rtx_refuses_a_scale_without_the_floor(small, tmp_path) -> None:
    pytest.importorskip("tensorrt_rtx", reason="TensorRT-RTX is not installed")
    proto = quantized.typed(small, "int8", S8, network.OPSET, "run")
    (scales,) = (each for each in proto.graph.initializer if each.name == "conv2_weight_scale")
    values = numpy_helper.to_array(scales).copy()
    values[[network.DEAD, network.TINY]] = 0
    scales.CopyFrom(numpy_helper.from_array(values, scales.name))
    onnx.save(proto, str(tmp_path / "model.onnx"))
    profile = catalog.get("rtx-ada")
    with pytest.raises(EnvironmentProblem):
        runtime("tensorrt_rtx").build(tmp_path / "model.onnx", "int8", SIDE, profile, tmp_path)
