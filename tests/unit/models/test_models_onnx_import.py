"""ONNX files as torch modules: what they compute, what they are made of, and what is refused."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
import torchvision
from onnx import TensorProto, helper, numpy_helper
from torch import nn

from tmkd_deploy.errors import DataError, RequestError
from tmkd_deploy.models.classifier import create
from tmkd_deploy.models.interface import ModelSpec
from tmkd_deploy.models.onnx_files import agreement
from tmkd_deploy.models.onnx_import.convert import convert
from tmkd_deploy.quantize.insert import insert_quantizers, quantized_layers

SIDE, CLASSES = 32, 3
BLOCK = torchvision.models.convnext.CNBlockConfig
NETS = {
    "shufflenet": lambda: torchvision.models.ShuffleNetV2(
        [2, 2, 1], [8, 16, 32, 64, 64], num_classes=CLASSES
    ),
    "mobilenet": lambda: torchvision.models.mobilenet_v3_small(
        num_classes=CLASSES, width_mult=0.25
    ),
    "convnext": lambda: torchvision.models.ConvNeXt(
        [BLOCK(8, 16, 1), BLOCK(16, None, 1)], num_classes=CLASSES
    ),
    "transformer": lambda: torchvision.models.VisionTransformer(
        SIDE, 8, 1, 2, 16, 32, num_classes=CLASSES
    ),
}


def exported(
    module: nn.Module, path: Path, *, dynamo: bool = False, batch: int | None = None, **more: Any
) -> str:
    """`module` as torch.onnx writes it; any batch fits unless there is one."""
    torch.manual_seed(0)
    shape = (batch or 2, 3, SIDE, SIDE)
    example = (more.pop("example", torch.rand(shape)),)
    if dynamo:
        batches = None if batch else ({0: torch.export.Dim("batch", min=1)},)
        more = {"dynamic_shapes": batches, "external_data": False, "verbose": False, **more}
    else:
        axes = None if batch else {"images": {0: "batch"}}
        more = {"opset_version": 17, "dynamic_axes": axes, "input_names": ["images"], **more}
    torch.onnx.export(module.eval(), example, str(path), dynamo=dynamo, **more)
    return str(path)


@functools.cache
def net(name: str) -> nn.Module:
    """A network whose batch norms have seen something."""
    torch.manual_seed(1)
    module = NETS[name]().train()
    with torch.no_grad():
        for each in module.parameters():
            if each.ndim > 1 and not each.any():  # as torchvision leaves the heads of transformers
                each.normal_(std=0.1)
        module(torch.rand(8, 3, SIDE, SIDE))
    return module.eval()


def pixels(count: int = 3) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (count, SIDE, SIDE, 3), dtype=np.uint8)


def classifier_of(path: str, **given: Any):
    return create(path, CLASSES, given, SIDE, scratch=True)[0].eval()


# of ConvNeXt, the newer exporter writes index arithmetic, which is refused
@pytest.mark.parametrize(
    ("name", "dynamo"),
    [*((name, False) for name in NETS), ("shufflenet", True), ("transformer", True)],
)
def test_a_converted_file_computes_what_the_network_computes(name, dynamo, tmp_path) -> None:
    path = exported(net(name), tmp_path / "net.onnx", dynamo=dynamo)
    classifier = classifier_of(path)
    said = agreement(ModelSpec(path, CLASSES, SIDE, SIDE), classifier, pixels())
    assert "agrees with net.onnx on 100 % of 3 images" in said
    images = torch.rand(5, 3, SIDE, SIDE)
    assert torch.allclose(classifier(images)[0], net(name)(images), atol=1e-4)
    insert_quantizers(classifier)  # none is enabled
    assert torch.allclose(classifier(images)[0], net(name)(images), atol=1e-4)


def test_the_layers_are_those_that_quantizers_know(tmp_path) -> None:
    """As many as the network itself has, but for batch norms, which exporters fold."""
    path = exported(net("mobilenet"), tmp_path / "net.onnx")
    kinds = [type(each) for each in classifier_of(path).modules()]
    itself = [type(each) for each in net("mobilenet").modules()]
    for kind in (nn.Conv2d, nn.Linear, nn.Hardswish, nn.AdaptiveAvgPool2d):
        assert kinds.count(kind) == itself.count(kind) > 0, kind
    network = insert_quantizers(classifier_of(path))
    assert len(quantized_layers(network)) == itself.count(nn.Conv2d) + itself.count(nn.Linear)


def test_a_gelu_is_a_gelu_again(tmp_path) -> None:
    path = exported(net("convnext"), tmp_path / "net.onnx")
    assert any(node.op_type == "Erf" for node in onnx.load(path).graph.node)
    kinds = [type(each) for each in convert(Path(path), SIDE, SIDE).module.modules()]
    assert kinds.count(nn.GELU) == 2


def test_a_file_of_one_image_takes_any_batch(tmp_path) -> None:
    path = exported(net("shufflenet"), tmp_path / "net.onnx", batch=1)
    images = torch.rand(5, 3, SIDE, SIDE)
    found = classifier_of(path)
    assert torch.allclose(found(images)[0], net("shufflenet")(images), atol=1e-5)
    assert "100 %" in agreement(ModelSpec(path, CLASSES, SIDE, SIDE), found, pixels())


class ChannelsLast(nn.Module):
    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.inner(images.permute(0, 3, 1, 2))


def test_channels_may_come_last_and_blue_first(tmp_path) -> None:
    module = ChannelsLast(net("shufflenet"))
    example = torch.rand(2, SIDE, SIDE, 3)
    path = exported(module, tmp_path / "net.onnx", example=example)
    found = convert(Path(path), SIDE, SIDE)
    assert found.file.channels_last
    (pixels_of,) = [node for node in found.module.graph.nodes if node.op == "placeholder"]
    assert {node.op for node in pixels_of.users} == {"call_module"}  # nothing is transposed
    images = torch.rand(2, 3, SIDE, SIDE)
    assert torch.allclose(found.module(images), net("shufflenet")(images), atol=1e-5)
    turned = classifier_of(path, channel_order="bgr")
    assert torch.allclose(turned(images.flip(1))[0], found.module(images), atol=1e-5)
    spec = ModelSpec(path, CLASSES, SIDE, SIDE, {"channel_order": "bgr"})
    assert "100 %" in agreement(spec, turned, pixels())


class TwoHeads(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, 8, 3, 2), nn.AdaptiveAvgPool2d(1), nn.Flatten())
        self.first, self.second = nn.Linear(8, 5), nn.Linear(8, CLASSES)

    def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        features = self.body(images)
        return self.first(features), self.second(features).softmax(1)


def test_of_several_heads_one_is_named(tmp_path) -> None:
    path = exported(TwoHeads(), tmp_path / "net.onnx", output_names=["colour", "kind"])
    with pytest.raises(RequestError, match="'colour', 'kind'") as refused:
        convert(Path(path), SIDE, SIDE)
    assert "student.model_kwargs.output=" in str(refused.value.advice)
    found = convert(Path(path), SIDE, SIDE, output="kind")
    assert (found.classes, found.head.ends_in_softmax) == (CLASSES, True)
    spec = ModelSpec(path, CLASSES, SIDE, SIDE, {"output": "kind"})
    assert "softmax at its end" in agreement(spec, classifier_of(path, output="kind"), pixels())
    with pytest.raises(RequestError, match="no output 'shape'"):
        convert(Path(path), SIDE, SIDE, output="shape")


@pytest.mark.parametrize("last", [nn.Identity(), nn.Softmax(1), nn.LogSoftmax(1)])
def test_what_follows_the_logits_is_left_out(last, tmp_path) -> None:
    path = exported(nn.Sequential(net("shufflenet"), last), tmp_path / "net.onnx")
    if isinstance(last, nn.Identity):  # exporters drop it, other tools may not
        model = onnx.load(path)
        (output,) = model.graph.output
        model.graph.node.append(helper.make_node("Identity", [output.name], ["named"]))
        output.name = "named"
        onnx.save(model, path)
    images = torch.rand(4, 3, SIDE, SIDE)
    classifier = classifier_of(path)
    assert torch.allclose(classifier(images)[0], net("shufflenet")(images), atol=1e-5)
    assert "100 %" in agreement(ModelSpec(path, CLASSES, SIDE, SIDE), classifier, pixels())


def test_a_file_for_other_classes_or_sizes_is_refused(tmp_path) -> None:
    path = exported(net("shufflenet"), tmp_path / "net.onnx")
    with pytest.raises(RequestError, match="has 3 classes, and the data have 5"):
        create(path, 5, {}, SIDE, scratch=True)
    with pytest.raises(RequestError, match="32 x 32 pixels") as refused:
        create(path, CLASSES, {}, 64, scratch=True)
    assert "[32, 32]" in str(refused.value.advice)


def test_a_module_that_computes_something_else_is_noticed(tmp_path) -> None:
    path = exported(net("shufflenet"), tmp_path / "net.onnx")
    classifier = classifier_of(path)
    with torch.no_grad():
        next(classifier.network.last.parameters()).mul_(1.1)
    with pytest.raises(DataError, match="does not compute what the ONNX file computes"):
        agreement(ModelSpec(path, CLASSES, SIDE, SIDE), classifier, pixels())


def graph(
    nodes: list[Any], path: Path, *, constants: tuple[Any, ...] = (), opset: int = 17, **types: Any
) -> Path:
    """A file of one's own nodes, from `images` to `scores`."""
    kind = types.get("kind", TensorProto.FLOAT)
    shape = types.get("shape", ["n", 3, SIDE, SIDE])
    made = helper.make_model(
        helper.make_graph(
            nodes,
            "graph",
            [helper.make_tensor_value_info("images", kind, shape)],
            [helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["n", CLASSES])],
            list(constants),
        ),
        opset_imports=[helper.make_opsetid("", opset)],
        ir_version=9,
    )
    path.write_bytes(made.SerializeToString())
    return path


POOL = helper.make_node("GlobalAveragePool", ["images"], ["pooled"])
FLAT = helper.make_node("Flatten", ["pooled"], ["scores"])


@pytest.mark.parametrize(
    ("nodes", "more", "said"),
    [
        ([helper.make_node("Det", ["images"], ["scores"])], {}, r"operator Det .*not among"),
        ([POOL, FLAT], {"kind": TensorProto.FLOAT16}, "takes no float32 images"),
        ([POOL, FLAT], {"shape": [8, 3, SIDE, SIDE]}, "takes 8 images at once"),
        ([POOL, FLAT], {"shape": ["n", 1, SIDE, SIDE]}, "takes an input of shape any x 1 x"),
        ([POOL, FLAT], {"opset": 9}, "has opset 9"),
        (
            [POOL, FLAT, helper.make_node("DequantizeLinear", ["a", "b"], ["c"])],
            {
                "constants": (
                    numpy_helper.from_array(np.zeros(3, np.int8), "a"),
                    numpy_helper.from_array(np.float32(1), "b"),
                )
            },
            "is quantized already",
        ),
        (
            [
                helper.make_node("ConstantOfShape", ["huge"], ["filled"]),
                helper.make_node("Add", ["images", "filled"], ["scores"]),
            ],
            {"constants": (numpy_helper.from_array(np.array([1 << 40], np.int64), "huge"),)},
            "too much memory",
        ),
        (
            [
                POOL,
                helper.make_node("Flatten", ["pooled"], ["flat"]),
                helper.make_node("Sigmoid", ["flat"], ["scores"]),
            ],
            {},
            "ends in a sigmoid",
        ),
        (
            [helper.make_node("Reshape", ["images", "shape"], ["scores"])],
            {"constants": (numpy_helper.from_array(np.array([7, 5], np.int64), "shape"),)},
            "operator Reshape .*does not fit",
        ),
        ([POOL, helper.make_node("Identity", ["pooled"], ["scores"])], {}, "No output"),
    ],
)
def test_what_cannot_be_converted_is_refused_by_name(nodes, more, said, tmp_path) -> None:
    with pytest.raises((RequestError, DataError), match=said):
        convert(graph(nodes, tmp_path / "net.onnx", **more), SIDE, SIDE)


def test_weights_elsewhere_are_refused_with_the_line_that_helps(tmp_path) -> None:
    path = exported(net("shufflenet"), tmp_path / "net.onnx")
    model = onnx.load(path)
    onnx.save(model, path, save_as_external_data=True, size_threshold=0, location="weights.bin")
    with pytest.raises(DataError, match="weights in another file") as refused:
        convert(Path(path), SIDE, SIDE)
    assert "onnx.save(onnx.load(" in str(refused.value.advice)


@pytest.mark.parametrize("content", [b"", b"no model", b"\x08\x09" * 40])
def test_what_is_no_onnx_file_is_refused(content, tmp_path) -> None:
    (tmp_path / "net.onnx").write_bytes(content)
    with pytest.raises(DataError):
        convert(tmp_path / "net.onnx", SIDE, SIDE)
