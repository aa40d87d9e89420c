"""TensorRT-RTX builds three families in three precisions, INT8 exactly where it was asked for."""

import copy
import dataclasses
import json
import re

import onnx
import pytest
import torch
from torch import nn

from tmkd_deploy.engines.interface import variant_for
from tmkd_deploy.engines.tensorrt_rtx import TensorRTRtx
from tmkd_deploy.engines.variants import variants_for
from tmkd_deploy.events import SilentEvents
from tmkd_deploy.export.export import export
from tmkd_deploy.models.classifier import create
from tmkd_deploy.quantize.insert import activation_quantizers, quantized_layers
from tmkd_deploy.quantize.quantize import post_training_quantized
from tmkd_deploy.records.onnx_model import MODEL, MODULE
from tmkd_deploy.records.quant_scheme import QuantScheme
from tmkd_deploy.targets.catalog import get
from tmkd_deploy.training.batches import to_float

pytest.importorskip("tensorrt_rtx", reason="the TensorRT-RTX builder is not installed")
ADA = get("rtx-ada")
SIDE = 32
PRECISIONS = ("fp32", "fp16", "int8")
RTX = TensorRTRtx()
# The first stages hold every kind of block of a family; the whole networks take long to export.
FIRST_STAGES = {
    "mobilenetv4": ("mobilenetv4_conv_small", 3),
    "efficientnet_lite": ("tf_efficientnet_lite0", 2),
}
WHOLE = {
    "whole mobilenetv4": ("mobilenetv4_conv_small", None),
    "whole efficientnet_lite": ("tf_efficientnet_lite0", None),
}
OTHERS = {**FIRST_STAGES, **WHOLE}
# how the builder's log writes kernels with weights, and what it adds to an ONNX node's name
_WEIGHTED = {"correlation", "gemm"}
_ADDED = re.compile(r"_myl\d+_\d+$")


@dataclasses.dataclass
class Family:
    """Engines by precision, the quantized network and the ONNX files."""

    engines: dict
    layers: dict
    files: dict
    network: torch.fx.GraphModule


@pytest.fixture(
    scope="module",
    params=[
        "resnet10t",
        *FIRST_STAGES,
        *(pytest.param(name, marks=pytest.mark.slow) for name in WHOLE),
    ],
)
def family(request, digits, quantized_digits, exported_digits, tmp_path_factory):
    if request.param == "resnet10t":
        network = quantized_digits(QuantScheme.S8)[0].network
        files = {name: exported_digits(variant_for(RTX, name))[0] for name in PRECISIONS}
    else:
        folder = tmp_path_factory.mktemp("exported")
        network, files = exported_family(*OTHERS[request.param], digits, folder)
    built = Family({}, {}, {}, network)
    for precision, file in files.items():
        folder = tmp_path_factory.mktemp(precision)
        built.files[precision] = onnx.load(file)
        built.engines[precision] = RTX.build(file, precision, SIDE, ADA, folder)
        layers = json.loads((folder / f"{precision}.layers.json").read_text())
        built.layers[precision] = [layer for layer in layers if layer["kind"] in _WEIGHTED]
    return built


def exported_family(name, stages, digits, folder):
    """The quantized network and a file for each precision."""
    classifier = student_of(name, stages, digits.data)
    student = dataclasses.replace(digits.student(), classifier=copy.deepcopy(classifier))
    events = SilentEvents()
    quantized = post_training_quantized(digits.recipe, digits.data, student, QuantScheme.S8, events)
    files = {}
    for precision in PRECISIONS:
        files[precision] = folder / precision / MODEL
        files[precision].parent.mkdir()
        model = quantized if precision == "int8" else classifier
        variant = variant_for(RTX, precision)
        export(digits.recipe, digits.data, model, variant, files[precision].parent, events)
    return quantized.network, files


def student_of(name, stages, data):
    """A network with the statistics of real images and untrained weights."""
    torch.manual_seed(0)
    classifier, _ = create(name, 10, {}, SIDE, scratch=True)
    images = to_float(data.images("train")[:64], None, torch.device("cpu"))
    if stages is not None:
        shorten(classifier.network.backbone, stages)
    classifier.train()
    with torch.no_grad():
        for _ in range(20):
            classifier(images)
    return classifier.eval()


def shorten(backbone, stages):
    """Leave the first stages, two blocks of the last, and let the head take what they give."""
    backbone.blocks = backbone.blocks[:stages]
    backbone.blocks[-1] = backbone.blocks[-1][:2]
    with torch.no_grad():
        stem = backbone.bn1(backbone.conv_stem(torch.zeros(2, 3, SIDE, SIDE)))
        width = backbone.blocks(stem).shape[1]
    head = backbone.conv_head
    backbone.conv_head = nn.Conv2d(width, head.out_channels, 1, bias=head.bias is not None)


def names_of(layers, proto):
    """The user's layers that kernels of the engine were made from."""
    modules = {
        node.name: entry.value
        for node in proto.graph.node
        for entry in node.metadata_props
        if entry.key == MODULE
    }
    return sorted(modules[_ADDED.sub("", layer["name"])] for layer in layers)


def test_every_quantized_layer_is_int8_in_the_engine(family):
    wanted = sorted(name.removeprefix("backbone.") for name in quantized_layers(family.network))
    in_integers = [layer for layer in family.layers["int8"] if "Int8" in layer["inputs"]]
    assert names_of(in_integers, family.files["int8"]) == wanted
    # and none is left in floating point, for none was left out
    assert len(family.layers["int8"]) == len(wanted) > 5
    assert family.engines["int8"].int8_layers >= len(wanted)


@pytest.mark.parametrize(("precision", "kind"), [("fp32", "Float"), ("fp16", "Half")])
def test_the_other_precisions_compute_only_in_their_own_type(family, precision, kind):
    assert family.engines[precision].int8_layers == 0
    layers = family.layers[precision]
    # what works on a single row or pixel, as the linear layer does, is a sum of products there
    assert 0.75 * len(family.layers["int8"]) < len(layers) < len(family.layers["int8"])
    assert {layer["kind"] for layer in layers} == {"correlation"}
    assert {found for layer in layers for found in layer["inputs"]} == {kind}


def test_pairs_are_as_many_as_the_placement_prescribes(family):
    graph = family.files["int8"].graph
    stored = {tensor.name for tensor in graph.initializer}
    makers = {name: node.op_type for node in graph.node for name in node.output}
    dequantizes = [node for node in graph.node if node.op_type == "DequantizeLinear"]
    pairs = [node for node in dequantizes if makers.get(node.input[0]) == "QuantizeLinear"]
    weights = [node for node in dequantizes if node.input[0] in stored]
    quantizers = activation_quantizers(family.network)
    assert len(pairs) == len(quantizers) == list(makers.values()).count("QuantizeLinear")
    assert len(weights) == len(quantized_layers(family.network))
    assert len(dequantizes) == len(pairs) + len(weights)


def test_the_file_for_tensorrt_8_gives_the_same_integer_layers(exported_digits, tmp_path):
    counts = []
    older = variants_for(get("jetson-xavier-nx"), "int8")[0]
    for variant in (older, variant_for(RTX, "int8")):
        path, record = exported_digits(variant)
        RTX.build(path, "int8", SIDE, ADA, tmp_path)
        layers = json.loads((tmp_path / "int8.layers.json").read_text())
        inputs = [layer["inputs"] for layer in layers if layer["kind"] in _WEIGHTED]
        counts.append([sum("Int8" in each for each in inputs), len(inputs)])
        assert record.opset == (variant.opset or 20)
    assert counts == [[16, 16], [16, 16]]
