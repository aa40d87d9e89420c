"""The layers of an engine, as TensorRT's builders and its inspector list them."""

import json

import pytest

from tmkd_deploy.agent.build.engine_layers import from_inspector, from_log
from tmkd_deploy.engines.int8_layers import count_int8


def test_layers_are_parsed_from_the_builders_log():
    lines = [
        "Building the engine",
        "Name: conv1, LayerType: CaskConvolution, Inputs: [ { Name: x, Dimensions: [1,8,8,8], "
        "Format/Datatype: Int8 NC/32HW32 }], Outputs: [ { Name: y }]",
        "Name: head, LayerType: gemm, Inputs: [ { Name: y, Datatype: Half }], Outputs: [ { }]",
        "Name: copy, LayerType: Reformat, Inputs: [ { Name: y, Datatype: Int8 }], Outputs: [ { }]",
    ]
    layers = from_log(lines)
    assert [(each["name"], each["kind"], each["inputs"]) for each in layers] == [
        ("conv1", "CaskConvolution", ["Int8"]),
        ("head", "gemm", ["Half"]),
        ("copy", "Reformat", ["Int8"]),
    ]
    # layers that only move data have no weights to quantize
    assert count_int8(layers) == (1, 2)


@pytest.mark.parametrize("inputs", [[{"Format/Datatype": "Int8 NC/4HW4"}], [{"Datatype": "Int8"}]])
def test_the_inspector_lists_the_same_layers(inputs):
    text = json.dumps({"Layers": [{"Name": "a", "LayerType": "Conv", "Inputs": inputs}, "b"]})
    assert from_inspector(text) == [
        {"name": "a", "kind": "Conv", "inputs": ["Int8"]},
        {"name": "b", "kind": "", "inputs": []},
    ]


# Recorded from TensorRT 8 and 10 with detailed verbosity, shortened to the fields that are read.
# From https://github.com/NVIDIA/TensorRT/issues/4020 (the first) and /issues/3737.
RECORDED = """{"Layers": [{
  "Name": "Reformatting CopyNode for Input Tensor 0 to resnetv15_conv0_fwd",
  "LayerType": "Reformat",
  "Inputs": [{"Name": "data", "Dimensions": [1,3,224,224],
    "Format/Datatype": "Row major linear FP32"}]
},{
  "Name": "/model.22/cv2.1/cv2.1.0/conv/Conv + /model.22/cv2.1/cv2.1.0/act/Relu",
  "LayerType": "CaskConvolution",
  "Inputs": [{"Name": "/model.18/cv2/act/Relu_output_0", "Dimensions": [1,128,40,40],
    "Format/Datatype": "Thirty-two wide channel vectorized row major Int8 format"}]
}]}"""


def test_a_type_is_found_within_the_description_of_a_format():
    layers = from_inspector(RECORDED)
    assert [each["inputs"] for each in layers] == [["Float"], ["Int8"]]
    assert count_int8(layers) == (1, 1)


@pytest.mark.parametrize(
    ("described", "known"),
    [
        ("Row major linear FP16 format", "Half"),
        ("Channel major FP16 format where channel % 8 == 0", "Half"),
        ("Four wide channel vectorized row major Int8 format", "Int8"),
        ("Half NHWC8", "Half"),
        ("BFloat16", "BF16"),
        ("Row major linear INT99", "Row major linear INT99"),
    ],
)
def test_types_have_one_name_whatever_a_release_calls_them(described, known):
    text = json.dumps(
        {"Layers": [{"Name": "a", "LayerType": "b", "Inputs": [{"Format/Datatype": described}]}]}
    )
    assert from_inspector(text)[0]["inputs"] == [known]
    line = (
        "Name: a, LayerType: b, Inputs: [ { Name: x, Location: Device, Dimensions: [1,8], "
        f"Format/Datatype: {described} }}, {{ Name: y, Dimensions: [1], Format/Datatype: "
        f"{described} }}], Outputs: [ {{ Name: z }}], TacticValue: 0x0"
    )
    assert from_log([line])[0]["inputs"] == [known, known]
