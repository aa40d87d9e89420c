"""OpenVINO engines: the decisions of ONNX Runtime from the same files, in the types asked for."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest

from tmkd_deploy.agent.telemetry import cpu
from tmkd_deploy.engines.build import build
from tmkd_deploy.engines.interface import variant_for
from tmkd_deploy.engines.onnxruntime import OnnxRuntime
from tmkd_deploy.engines.openvino import OpenVino, compile_file
from tmkd_deploy.engines.openvino_layers import compiled_layers
from tmkd_deploy.engines.registry import runtime
from tmkd_deploy.errors import DataError
from tmkd_deploy.events import SilentEvents
from tmkd_deploy.records.onnx_model import Variant
from tmkd_deploy.records.quant_scheme import QuantScheme
from tmkd_deploy.runtime import openvino_session
from tmkd_deploy.targets.catalog import get
from tmkd_deploy.targets.racing import Race

pytest.importorskip("onnxruntime")
openvino = pytest.importorskip("openvino")
TARGET = get("cpu-openvino")


@pytest.fixture(scope="module")
def engines(exported_digits, tmp_path_factory):
    folder = tmp_path_factory.mktemp("engines")
    names = ("int8", "bf16", "fp32")
    models = {name: exported_digits(variant_for(OpenVino(), name))[0] for name in names}
    return build(TARGET, models, 32, folder, SilentEvents()), folder


def logits_of(session, images):
    return np.concatenate([session.infer(images[at : at + 1]) for at in range(len(images))])


@pytest.mark.parametrize(("name", "tolerance"), [("fp32", 1e-4), ("bf16", 0.03), ("int8", 0.05)])
def test_it_decides_as_onnx_runtime_does(digits, engines, name, tolerance):
    images = digits.data.images("test")
    file = engines[1] / f"{name}.onnx"
    expected = logits_of(OnnxRuntime().open(file, 1), images)
    found = logits_of(OpenVino().open(file, 1), images)
    assert (found.argmax(axis=1) == expected.argmax(axis=1)).mean() >= 0.995
    # the same integers, except for float arithmetic at the end and rare rounding differences
    assert np.abs(found - expected).max() <= tolerance * np.abs(expected).max()
    assert digits.top1(found) > 0.95


def test_the_int8_engine_computes_in_integers(quantized_digits, engines):
    _, quantized = quantized_digits(QuantScheme.U8)
    files = {file.precision: file for file in engines[0].engines}
    assert files["int8"].total_layers == files["fp32"].total_layers == len(quantized.layers)
    # the first layer takes the image, whose zero point OpenVINO keeps in floating point
    assert files["int8"].int8_layers >= len(quantized.layers) - 1
    assert files["fp32"].int8_layers == 0
    assert engines[0].runtime == "openvino" and engines[0].kit == []


def test_fp32_engines_compute_in_fp32_whatever_the_processor_prefers(engines):
    layers = compiled_layers(compile_file(engines[1] / "fp32.onnx", 1))
    weighted = [layer for layer in layers if layer.kind in ("Convolution", "FullyConnected")]
    assert weighted and {layer.computes_in for layer in weighted} == {"f32"}


def test_bf16_engines_compute_in_bf16_where_the_processor_does(engines):
    layers = compiled_layers(compile_file(engines[1] / "bf16.onnx", 1))
    computes_in = {layer.computes_in for layer in layers if layer.is_weighted}
    assert computes_in == ({"bf16"} if cpu.arithmetic_support()["bf16"] else {"f32"})


def test_bf16_engines_compute_in_fp32_on_other_processors(engines, monkeypatch):
    monkeypatch.setattr(openvino_session, "has_bf16", lambda: False)
    layers = compiled_layers(compile_file(engines[1] / "bf16.onnx", 1))
    assert {layer.computes_in for layer in layers if layer.is_weighted} == {"f32"}


def test_images_alone_and_together_give_the_same_logits(digits, engines):
    images = np.ascontiguousarray(digits.data.images("test")[:16])
    session = OpenVino().open(engines[1] / "int8.onnx", 1)
    assert np.array_equal(session.infer(images), logits_of(session, images))


OPEN_BOTH = """
import sys
import numpy as np
from pathlib import Path
from tmkd_deploy.runtime.runtimes import open_session
from tmkd_deploy.runtime.session_options import SessionOptions
images, answers, *files = sys.argv[1:]
sessions = [open_session("openvino", Path(file), SessionOptions()) for file in files]
np.save(answers, np.stack([each.infer(np.load(images)) for each in sessions]))
"""


def test_int8_engines_do_not_saturate_without_vnni(digits, engines, exported_digits, tmp_path):
    """oneDNN, which OpenVINO computes with, takes a limit on instructions from the environment."""
    images = tmp_path / "images.npy"
    np.save(images, digits.data.images("test")[:64])
    eight_bits, _ = exported_digits(Variant("student", "int8", QuantScheme.S8))
    found = {}
    for instructions in ("DEFAULT", "AVX2"):
        answers = tmp_path / f"{instructions}.npy"
        files = (engines[1] / "int8.onnx", eight_bits)
        subprocess.run(
            [sys.executable, "-c", OPEN_BOTH, images, answers, *files],
            env={**os.environ, "ONEDNN_MAX_CPU_ISA": instructions},
            check=True,
        )
        found[instructions] = np.load(answers)
    ours, others = np.abs(found["AVX2"] - found["DEFAULT"]).max(axis=(1, 2))
    largest = np.abs(found["DEFAULT"]).max()
    if others <= 0.05 * largest:
        pytest.skip("not even weights of eight bits saturate on this processor")
    assert ours <= 0.01 * largest


def test_a_file_for_tensorrt_is_refused(exported_digits, tmp_path):
    path, _ = exported_digits(Variant("student", "int8", QuantScheme.S8, "fp16"))
    with pytest.raises(DataError, match="quantized for another runtime"):
        runtime("openvino").build(path, "int8", 32, TARGET, tmp_path)
    assert list(tmp_path.iterdir()) == []


BOTH = ("onnxruntime", "openvino")


@pytest.fixture
def models(exported_digits):
    return {name: exported_digits(variant_for(OpenVino(), name))[0] for name in ("int8", "fp32")}


def test_both_runtimes_of_a_race_build_from_the_same_file(models, tmp_path):
    record = build(get("cpu"), models, 32, tmp_path, SilentEvents(), race=Race(BOTH))
    assert record.runtime == "onnxruntime" and record.notes == []
    names = [engine.name for engine in record.engines]
    assert names == ["int8", "fp32", "int8-openvino", "fp32-openvino"]
    by_name = {engine.name: engine for engine in record.engines}
    for precision in ("int8", "fp32"):
        own, other = by_name[precision], by_name[f"{precision}-openvino"]
        assert own.sha256 == other.sha256 and (tmp_path / own.file).is_file()
    # each runtime counts the layers of what it makes of the file
    assert by_name["int8-openvino"].int8_layers >= by_name["int8-openvino"].total_layers - 1
