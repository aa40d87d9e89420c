"""INT8 for a DLA that reads no Q/DQ pairs: the scales go into a calibration cache."""

import json
import shutil
import struct
import subprocess
from collections import Counter

import numpy as np
import onnx
import pytest
from boards import board
from onnx import numpy_helper
from recorded_events import RecordedEvents
from test_engines_kit import BANNERS, needs_sh, run_script

from tmkd_deploy.artifacts import sha256_of
from tmkd_deploy.engines.build import build
from tmkd_deploy.engines.device_build import TEACHER, build_on_device
from tmkd_deploy.engines.dla_model import cache_text, for_dla
from tmkd_deploy.engines.tensorrt_kit import build_command
from tmkd_deploy.engines.tensorrt_typing import dla_needs_cache, version_number
from tmkd_deploy.engines.variants import variants_for
from tmkd_deploy.errors import DataError
from tmkd_deploy.events import SilentEvents
from tmkd_deploy.export.reference import reference_logits
from tmkd_deploy.targets.catalog import get

AGX = get("jetson-agx-orin")
# a cache that TensorRT itself wrote on a Xavier: https://github.com/NVIDIA/TensorRT/issues/2036
RECORDED = "TRT-8203-EntropyCalibration2\n167: 3c009976\n168: 3e5d05cc\n"


def read_cache(text):
    header, *lines = text.splitlines()
    pairs = [line.rpartition(": ")[::2] for line in lines]
    scales = {name: struct.unpack(">f", bytes.fromhex(digits))[0] for name, digits in pairs}
    assert len(scales) == len(lines)
    return header, scales


@pytest.fixture(scope="module")
def pairs(exported_digits):
    """The file with Q/DQ pairs, as exported for such a DLA."""
    return exported_digits(variants_for(AGX, "int8", "10.3.0", dla=True)[0])[0]


@pytest.fixture(scope="module")
def freed(pairs, tmp_path_factory):
    """The file without them, and its cache."""
    written = tmp_path_factory.mktemp("dla") / "int8.dla.onnx"
    cache = for_dla(pairs, "int8", "10.3.0", written)
    assert cache == written.with_suffix(".cache")
    return written, cache


def quantizers(proto):
    """The scale and the integers' type of each Q: {tensor: (scale, zero point)}."""
    constants = {each.name: numpy_helper.to_array(each) for each in proto.graph.initializer}
    return {
        node.input[0]: tuple(constants[name] for name in node.input[1:3])
        for node in proto.graph.node
        if node.op_type == "QuantizeLinear"
    }


def test_a_cache_is_written_as_tensorrt_writes_it():
    header, scales = read_cache(RECORDED)
    assert cache_text(scales, 8203) == RECORDED and header == "TRT-8203-EntropyCalibration2"
    assert scales["167"] * 127 == pytest.approx(0.9969, abs=1e-4)  # of pixels in [0, 1]


def test_the_cache_has_the_scales_of_the_file_with_pairs_tensor_by_tensor(pairs, freed):
    proto = onnx.load(pairs)
    weights = {each.name for each in proto.graph.initializer}
    expected = {
        name: float(scale) for name, (scale, _) in quantizers(proto).items() if name not in weights
    }
    header, scales = read_cache(freed[1].read_text())
    assert header == "TRT-100300-EntropyCalibration2"
    assert len(expected) > 20
    assert {name: scales[name] for name in expected} == expected


def test_what_a_relu_a_pooling_or_a_reshape_joins_has_one_scale(pairs, freed):
    _, scales = read_cache(freed[1].read_text())
    graph = onnx.load(freed[0]).graph
    uses = Counter(name for node in graph.node for name in node.input)
    joined = [node for node in graph.node if node.op_type in ("Relu", "MaxPool", "Reshape")]
    assert len(joined) > 10
    for node in joined:
        assert uses[node.input[0]] == 1
        assert scales[node.input[0]] == scales[node.output[0]]
    outputs = [name for node in graph.node for name in node.output]
    without = [name for name in outputs if name not in scales]
    # pixels up to their normalisation, and the logits
    kinds = {node.output[0]: node.op_type for node in graph.node}
    assert [kinds[name] for name in without] == ["Cast", "Transpose", "Mul", "Gemm"]
    inherited = scales.keys() - quantizers(onnx.load(pairs)).keys()
    assert len(inherited) == len(joined)


def test_tensorrt_rounds_the_weights_as_training_did(pairs, freed):
    before, after = onnx.load(pairs), onnx.load(freed[0])
    plain = {each.name: numpy_helper.to_array(each) for each in after.graph.initializer}
    weights = {
        name: scale for name, (scale, _) in quantizers(before).items() if np.ndim(scale) == 1
    }
    assert len(weights) > 10
    for name, scale in weights.items():
        axes = tuple(range(1, plain[name].ndim))
        assert plain[name].dtype == np.float32
        # of a weight without a scale, TensorRT takes amax / 127 of each output channel; ours are
        # numbers that FP16 has, below whose normal range they are up to a step of it larger
        theirs = np.abs(plain[name]).max(axis=axes) / 127
        normal = scale >= 2.0**-14
        np.testing.assert_allclose(theirs[normal], scale[normal], rtol=1e-6)
        assert (np.abs(scale - theirs)[~normal] <= 2.0**-24).all()


def test_onnx_runtime_runs_the_file_without_pairs(digits, pairs, freed):
    proto = onnx.load(freed[0])
    onnx.checker.check_model(proto, full_check=True)
    kinds = {node.op_type for node in proto.graph.node}
    assert not kinds & {"QuantizeLinear", "DequantizeLinear"}
    images = digits.data.images("test")[:100]
    without = np.concatenate([reference_logits(freed[0], each[None]) for each in images])
    rounded = reference_logits(pairs, images)
    assert (without.argmax(axis=1) == rounded.argmax(axis=1)).mean() > 0.95
    assert np.median(np.abs(without - rounded)) < 0.1 * np.abs(rounded).max()


def test_the_names_and_shapes_are_those_that_tensorrts_parser_gives(freed):
    trt = pytest.importorskip("tensorrt_rtx", reason="TensorRT-RTX stands in for its parser")
    log = trt.Logger(trt.Logger.ERROR)
    builder = trt.Builder(log)
    typed = 1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED)
    network = builder.create_network(typed)
    assert trt.OnnxParser(network, log).parse(freed[0].read_bytes())
    layers = [network.get_layer(at) for at in range(network.num_layers)]
    tensors = [each.get_output(at) for each in layers for at in range(each.num_outputs)]
    _, scales = read_cache(freed[1].read_text())
    assert scales.keys() <= {tensor.name for tensor in tensors}
    assert tuple(network.get_input(0).shape) == (1, 32, 32, 3)
    assert all(-1 not in tuple(tensor.shape) for tensor in tensors)


def test_fp16_and_tensorrt_11_need_a_fixed_batch_only(exported_digits, tmp_path):
    for precision, release in (("fp16", "10.3.0"), ("int8", "11.4.1")):
        model = exported_digits(variants_for(AGX, precision, release, dla=True)[0])[0]
        assert for_dla(model, precision, release, tmp_path / "dla.onnx") is None
        before, after = onnx.load(model), onnx.load(tmp_path / "dla.onnx")
        assert list(before.graph.node) == list(after.graph.node)
        assert after.graph.input[0].type.tensor_type.shape.dim[0].dim_value == 1


def test_weights_in_integers_are_refused(exported_digits, tmp_path):
    newer = exported_digits(variants_for(AGX, "int8", "10.3.0")[0])[0]
    with pytest.raises(DataError, match="stored in integers") as caught:
        for_dla(newer, "int8", "10.3.0", tmp_path / "dla.onnx")
    assert caught.value.where == str(newer)


@pytest.mark.parametrize(
    ("release", "number", "cached"),
    [
        ("8.5.2.2", 8502, True),
        ("8.6", 8600, True),
        ("10.3.0", 100300, True),
        ("10.7.0", 100700, True),
        ("11.4.1", 110401, False),
    ],
)
def test_each_release_has_its_number_and_its_way(release, number, cached):
    assert version_number(release) == number
    assert dla_needs_cache(release) == cached
    names = [each.name for each in variants_for(AGX, "int8", release, dla=True)]
    assert names == ["student-int8-signed-fp32-opset17" if cached else "student-int8-signed-fp16"]


class StandInDevice:
    """A stand-in for a Jetson: it answers what the agent would, and remembers what was asked."""

    def __init__(self, **changes):
        self.info = board("igx-orin", tensorrt="10.3.0", **changes)
        self.asked, self.sent = [], {}

    def upload(self, path):
        self.sent[sha256_of(path)] = path
        return sha256_of(path)

    def request(self, name, **fields):
        self.asked.append(fields)
        left = ["fc"] if fields["dla_core"] is not None else []
        sidecar = {
            "dla": {"core": fields["dla_core"], "gpu_fallback_layers": left},
            "device": {"sm": "87"},
            "versions": {"runtime": "10.3.0"},
        }
        return {"engine": "0" * 64, "sidecar": sidecar, "layers": None, "log": None}

    def download(self, sha256, path):
        path.write_bytes(b"engine")


def test_the_device_is_asked_for_int8_by_a_cache(pairs, exported_digits, tmp_path):
    device, events = StandInDevice(), RecordedEvents()
    models = {"int8": pairs, "fp32": pairs, TEACHER: pairs}
    models["fp16"] = exported_digits(variants_for(AGX, "fp16", "10.3.0", dla=True)[0])[0]
    record = build_on_device(device, AGX, models, 32, 1, tmp_path, events)
    asked = dict(zip(models, device.asked, strict=True))
    assert {name: each["dla_core"] for name, each in asked.items()} == {
        **{"int8": 1, "fp16": 1, "fp32": None, TEACHER: None}
    }
    cache = device.sent[asked["int8"]["calibration"]]
    assert read_cache(cache.read_text())[0] == "TRT-100300-EntropyCalibration2"
    assert [each["calibration"] for name, each in asked.items() if name != "int8"] == [None] * 3
    built_from = device.sent[asked["int8"]["onnx"]]
    assert not quantizers(onnx.load(built_from)) and built_from.parent == tmp_path
    assert len([note for note in record.notes if "run on the GPU" in note and "fc" in note]) == 2
    assert json.loads((tmp_path / "int8.manifest.json").read_text())["dla"]["core"] == 1


def test_a_build_on_a_release_with_a_known_fault_is_warned_of(pairs, tmp_path):
    # https://github.com/ggml-org/llama.cpp/pull/23732
    for release, warned in (("36.4.7", 1), ("36.4.4", 0)):
        events = RecordedEvents()
        device = StandInDevice(l4t=release)
        build_on_device(device, AGX, {"fp32": pairs}, 32, None, tmp_path, events)
        assert len([each for each in events.warnings if "NvMap" in each]) == warned


@pytest.mark.parametrize(
    ("release", "precision", "there", "absent"),
    [
        ("8.5", "int8", {"--onnx=int8-opset17.onnx", "--int8", "--fp16"}, {"--stronglyTyped"}),
        ("10", "int8", {"--onnx=int8-opset17.onnx", "--int8", "--fp16"}, {"--stronglyTyped"}),
        ("10", "fp16", {"--onnx=fp16.onnx", "--fp16"}, {"--stronglyTyped", "--int8"}),
        ("11", "int8", {"--onnx=int8.onnx"}, {"--int8", "--calib=calibration.cache"}),
    ],
)
def test_a_kit_for_a_dla_has_its_commands(release, precision, there, absent):
    command = build_command(release, precision, 32, 512, dla_core=0)
    assert {*there, "--useDLACore=0", "--allowGPUFallback"} <= set(command)
    assert not absent & set(command)
    assert ("--calib=calibration.cache" in command) == (precision == "int8" and release != "11")
    assert not any("Shapes=" in each for each in command)


@pytest.mark.parametrize(("name", "noted"), [("jetson-orin-nano", 1), ("jetson-agx-orin", 0)])
def test_a_kit_for_a_board_without_that_core_says_so(pairs, tmp_path, name, noted):
    record = build(get(name), {"int8": pairs}, 32, tmp_path, SilentEvents(), dla_core=1)
    assert sum("DLA core 1, but" in note for note in record.notes) == noted


@needs_sh
def test_a_kit_for_a_dla_is_whole(pairs, exported_digits, tmp_path):
    folder = tmp_path / "kit"
    folder.mkdir()
    models = {"fp16": exported_digits(variants_for(AGX, "fp16")[0])[0], "fp32": pairs}
    record = build(AGX, {"int8": pairs, **models}, 32, folder, SilentEvents(), dla_core=1)
    assert {"int8-opset17.onnx", "int8-opset17.cache", "fp16.onnx"} <= set(record.kit)
    assert not quantizers(onnx.load(folder / "int8-opset17.onnx"))
    assert sha256_of(folder / "fp32-opset17.onnx") == sha256_of(pairs)  # not for the DLA
    profile = json.loads((folder / "int8.profile.json").read_text())
    assert profile["dla_core"] == 1
    script = folder / "build-int8.sh"
    if shutil.which("shellcheck"):
        subprocess.run(["shellcheck", str(script)], check=True)
    done = run_script(script, tmp_path, BANNERS["10"])
    assert done.returncode == 0, done.stderr
    asked = (tmp_path / "asked").read_text().splitlines()[1:]
    assert asked == build_command("10", "int8", 32, AGX.workspace_mb, 1)[1:]
    lines = (folder / "calibration.cache").read_text().splitlines()
    assert lines[0] == "TRT-100300-EntropyCalibration2"
    assert lines[1:] == (folder / "int8-opset17.cache").read_text().splitlines()[1:]


def test_a_tensor_that_is_used_elsewhere_inherits_nothing(tmp_path):
    from onnx import TensorProto, helper

    constants = {"scale": np.float32(0.5), "zero": np.int8(0)}
    nodes = [
        helper.make_node("Relu", ["x"], ["active"]),
        helper.make_node("QuantizeLinear", ["active", "scale", "zero"], ["q"]),
        helper.make_node("DequantizeLinear", ["q", "scale", "zero"], ["dq"]),
        helper.make_node("Add", ["x", "dq"], ["y"]),
    ]
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", 2]) for name in "xy"]
    tensors = [numpy_helper.from_array(np.asarray(v), k) for k, v in constants.items()]
    graph = helper.make_graph(nodes, "skip", [ends[0]], [ends[1]], tensors)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, tmp_path / "model.onnx")
    cache = for_dla(tmp_path / "model.onnx", "int8", "8.6.2", tmp_path / "dla.onnx")
    assert read_cache(cache.read_text()) == ("TRT-8602-EntropyCalibration2", {"active": 0.5})
    written = onnx.load(tmp_path / "dla.onnx")
    assert [list(node.input) for node in written.graph.node] == [["x"], ["x", "active"]]
    assert not written.graph.initializer
