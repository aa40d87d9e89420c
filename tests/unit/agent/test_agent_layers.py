"""The layers of an engine, as TensorRT's builders and its inspector list them."""

import json

import pytest

from tmkd_deploy.agent.layers import from_inspector, from_log
from tmkd_deploy.engines.layers import count_int8


def test_layers_are_read_from_the_builders_words():
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
    # what only moves numbers has no weights to be in integers
    assert count_int8(layers) == (1, 2)


@pytest.mark.parametrize("inputs", [[{"Format/Datatype": "Int8 NC/4HW4"}], [{"Datatype": "Int8"}]])
def test_the_inspector_says_the_same(inputs):
    text = json.dumps({"Layers": [{"Name": "a", "LayerType": "Conv", "Inputs": inputs}, "b"]})
    assert from_inspector(text) == [
        {"name": "a", "kind": "Conv", "inputs": ["Int8"]},
        {"name": "b", "kind": "", "inputs": []},
    ]
