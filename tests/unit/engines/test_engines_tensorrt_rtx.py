"""TensorRT-RTX builds engines ahead of time, on a machine without a GPU."""

import json

import pytest

from tmkd_deploy.engines.interface import variant_for
from tmkd_deploy.engines.tensorrt_rtx import TensorRTRtx
from tmkd_deploy.errors import DataError, EnvironmentProblem
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
