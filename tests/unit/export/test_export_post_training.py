"""Other ways to quantize the digits' network, as they are measured beside the engines."""

import numpy as np
import onnx
import pytest
from onnx import TensorProto, numpy_helper

from tmkd_deploy.engines.onnxruntime import OnnxRuntime
from tmkd_deploy.errors import EnvironmentProblem, MissingExtra
from tmkd_deploy.events import SilentEvents
from tmkd_deploy.export.post_training import compare_post_training
from tmkd_deploy.export.reference import reference_logits
from tmkd_deploy.records.onnx_model import Variant
from tmkd_deploy.runtime.onnxruntime_session import precise_int8_default

pytest.importorskip("onnxruntime")


def asking(digits, *ways):
    section = digits.recipe.quantize.model_copy(update={"compare": list(ways)})
    return digits.recipe.model_copy(update={"quantize": section})


def made_by(way, digits, fp32, folder):
    record = compare_post_training(
        asking(digits, way), digits.data, digits.student(), fp32, folder, SilentEvents()
    )
    (compared,) = record.files
    assert compared.name == way and compared.label.startswith("Post-training, ")
    return folder / compared.file, compared


@pytest.mark.parametrize(
    "way",
    ["post_training", "quantize_static", pytest.param("modelopt", marks=pytest.mark.slow)],
)
def test_each_way_computes_in_integers_and_keeps_the_accuracy(
    digits, exported_digits, tmp_path, way
):
    if way == "modelopt":
        pytest.importorskip("modelopt")
    fp32, _ = exported_digits(Variant("student", "fp32"))
    before = fp32.read_bytes()
    file, compared = made_by(way, digits, fp32, tmp_path)
    assert fp32.read_bytes() == before
    assert sorted(path.name for path in tmp_path.iterdir()) == [file.name]
    kinds = [node.op_type for node in onnx.load(file).graph.node]
    assert kinds.count("QuantizeLinear") >= 10
    images = digits.data.images("test")
    session = OnnxRuntime().open(file, 1, compared.precise_int8)
    logits = np.concatenate([session.infer(images[at : at + 50]) for at in range(0, 500, 50)])
    plain = reference_logits(fp32, images)
    assert digits.top1(plain) - (logits.argmax(1) == digits.data.labels("test")).mean() < 0.03
    assert not np.array_equal(logits, plain)
    if way == "quantize_static":
        check_that_the_fast_mode_cannot_saturate(file, compared)


def check_that_the_fast_mode_cannot_saturate(file, compared):
    assert compared.precise_int8 is False
    largest = max(
        int(np.abs(numpy_helper.to_array(tensor).astype(int)).max())
        for tensor in onnx.load(file).graph.initializer
        if tensor.data_type == TensorProto.INT8 and len(tensor.dims) == 4
    )
    assert largest <= (64 if precise_int8_default() else 128)


def test_without_modelopt_the_extra_that_brings_it_is_named(
    digits, exported_digits, tmp_path, monkeypatch
):
    absent = tmp_path / "absent" / "modelopt.py"
    absent.parent.mkdir()
    absent.write_text("raise ModuleNotFoundError('No module named modelopt', name='modelopt')")
    monkeypatch.syspath_prepend(absent.parent)  # the process that quantizes inherits it
    fp32, _ = exported_digits(Variant("student", "fp32"))
    with pytest.raises(MissingExtra, match="'nvidia-modelopt', which is not installed") as caught:
        made_by("modelopt", digits, fp32, tmp_path)
    assert caught.value.advice == "Install it with: pip install 'tmkd-deploy[modelopt]'"


def test_what_another_tool_refuses_is_told_in_its_words(digits, tmp_path):
    broken = tmp_path / "broken.onnx"
    broken.write_bytes(b"no graph")
    into = tmp_path / "made"
    into.mkdir()
    with pytest.raises(EnvironmentProblem, match="quantize_static") as caught:
        made_by("quantize_static", digits, broken, into)
    assert caught.value.where == "quantize.compare"
