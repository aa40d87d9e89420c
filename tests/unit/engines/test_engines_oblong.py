"""Oblong inputs and a mean of their own, from the network to the engines of every runtime."""

import importlib.util

import numpy as np
import pytest
import torch

pytest.importorskip("timm")
import onnx

from tmkd_deploy.engines.onnxruntime import OnnxRuntime
from tmkd_deploy.engines.openvino import OpenVino
from tmkd_deploy.engines.registry import runtime
from tmkd_deploy.engines.tensorrt_kit import build_command
from tmkd_deploy.errors import DataError
from tmkd_deploy.export.torch_to_onnx import to_onnx
from tmkd_deploy.models.classifier import create
from tmkd_deploy.targets.catalog import get

SIZE = [32, 48]
OWN = [0.1, 0.5, 0.7], [0.2, 0.3, 0.9]
HAS_RTX = importlib.util.find_spec("tensorrt_rtx") is not None
HAS_OPENVINO = importlib.util.find_spec("openvino") is not None
needs_openvino = pytest.mark.skipif(not HAS_OPENVINO, reason="openvino is not installed")
needs_rtx = pytest.mark.skipif(not HAS_RTX, reason="tensorrt_rtx is not installed")


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    torch.manual_seed(0)
    arguments = {"channels": [8, 8, 8, 8], "stem_width": 8}
    classifier, _ = create("resnet10t", 3, arguments, SIZE, scratch=True, normalisation=OWN)
    file = tmp_path_factory.mktemp("oblong") / "model.onnx"
    onnx.save(to_onnx(classifier, SIZE, 20), file)
    return classifier, file


@pytest.mark.parametrize(
    "target",
    [
        "cpu",
        pytest.param("cpu-openvino", marks=needs_openvino),
        "jetson-orin-nano",
        pytest.param("rtx-ada", marks=needs_rtx),
    ],
)
def test_every_runtime_builds_it(exported, tmp_path, target):
    builder = runtime(get(target).runtime)
    assert builder.build(exported[1], "fp32", SIZE, get(target), tmp_path).bytes > 0
    for other in (32, SIZE[::-1]):
        with pytest.raises(DataError, match="32 x 48 x 3, but the engine needs"):
            builder.build(exported[1], "fp32", other, get(target), tmp_path)


def test_the_kit_of_a_jetson_builds_for_it():
    command = build_command("10", "int8", SIZE, 512)
    assert any("images:1x32x48x3" in word for word in command), command


@pytest.mark.parametrize("builder", [OnnxRuntime(), pytest.param(OpenVino(), marks=needs_openvino)])
def test_the_engine_computes_what_the_network_does(exported, tmp_path, builder):
    classifier, file = exported
    builder.build(file, "fp32", SIZE, get("cpu"), tmp_path)
    images = np.random.default_rng(0).integers(0, 256, (4, *SIZE, 3), dtype=np.uint8)
    with torch.inference_mode():
        expected = classifier(torch.from_numpy(images).permute(0, 3, 1, 2) / 255)[0].numpy()
    found = builder.open(tmp_path / "fp32.onnx", threads=1).infer(images)
    np.testing.assert_allclose(found, expected, atol=1e-4)
