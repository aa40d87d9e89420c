"""The small classifier that is built and run on a device: random filters with a fitted head.

It needs no training: the filters are seeded noise, and the head is a ridge regression on what they
answer to striped images, so its decisions have margins as those of a trained network do. One
channel has weights of zero and one has weights too small for FP16, as pruned or dead channels do.
"""

from __future__ import annotations

import functools
from typing import NamedTuple

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from tmkd_deploy.prove.images import CLASSES, striped
from tmkd_deploy.records.onnx_model import INPUT, OUTPUT

OPSET = 19  # the oldest whose Q/DQ pairs may have FP16 scales
_SEED = 20240611
_FITTED_IMAGES = 400
_RIDGE = 1e-3
_BATCH = 16
DEAD, TINY = 0, 1  # the channels of the second convolution
_TINY_WEIGHT = 2.0**-30


class Convolution(NamedTuple):
    """A 3x3 convolution with its bias and stride, followed by a ReLU; weight [out, in, 3, 3]."""

    weight: np.ndarray
    bias: np.ndarray
    stride: int


class Network(NamedTuple):
    """The convolutions, then a pooling and a 1x1 convolution with `head` [classes, channels, 1, 1]
    and `head_bias`; for images of `side` pixels."""

    side: int
    convolutions: list[Convolution]
    head: np.ndarray
    head_bias: np.ndarray


@functools.lru_cache(maxsize=2)
def make(width: int, side: int) -> Network:
    """A network whose first layers have `width` channels; the same arguments give the same one."""
    random = np.random.default_rng(_SEED)
    shapes = [(3, width, 1), (width, width, 2), (width, 2 * width, 2), (2 * width, 2 * width, 1)]
    layers = []
    for number, (inputs, outputs, stride) in enumerate(shapes):
        deviation = np.sqrt(2.0 / (9 * inputs)) / (64.0 if number == 0 else 1.0)
        weight = random.normal(0, deviation, (outputs, inputs, 3, 3)).astype(np.float32)
        weight -= weight.mean(axis=(1, 2, 3), keepdims=True)
        bias = random.uniform(0, 0.1, outputs).astype(np.float32)
        if number == 1:
            weight[DEAD], bias[DEAD] = 0.0, 0.0
            weight[TINY] = np.sign(weight[TINY]) * np.float32(_TINY_WEIGHT)
        layers.append(Convolution(weight, bias, stride))
    nothing = np.zeros((CLASSES, 2 * width, 1, 1), np.float32)
    return _fitted(Network(side, layers, nothing, np.zeros(CLASSES, np.float32)))


def to_onnx(network: Network, opset: int = OPSET, output: str = OUTPUT) -> onnx.ModelProto:
    """The network in FP32: raw pixels uint8 [batch, side, side, 3] to logits [batch, classes].

    `output` may name another tensor, such as "pooled" [batch, channels, 1, 1].
    """
    nodes = [
        helper.make_node("Cast", [INPUT], ["float"], "cast", to=TensorProto.FLOAT),
        helper.make_node("Transpose", ["float"], ["active0"], "transpose", perm=[0, 3, 1, 2]),
    ]
    constants: dict[str, np.ndarray] = {}
    for number, layer in enumerate(network.convolutions, start=1):
        name = f"conv{number}"
        constants |= {f"{name}_weight": layer.weight, f"{name}_bias": layer.bias}
        inputs = [f"active{number - 1}", f"{name}_weight", f"{name}_bias"]
        strides = [layer.stride] * 2
        nodes += [
            helper.make_node("Conv", inputs, [name], name, pads=[1] * 4, strides=strides),
            helper.make_node("Relu", [name], [f"active{number}"], f"relu{number}"),
        ]
    nodes.append(
        helper.make_node("GlobalAveragePool", [f"active{number}"], ["pooled"], "global_pool")
    )
    if output == OUTPUT:
        constants |= {"head_weight": network.head, "head_bias": network.head_bias}
        nodes += [
            helper.make_node("Conv", ["pooled", "head_weight", "head_bias"], ["scores"], "head"),
            helper.make_node("Flatten", ["scores"], [OUTPUT], "flatten"),
        ]
    shape = ["batch", CLASSES] if output == OUTPUT else None
    graph = helper.make_graph(
        nodes,
        "proof",
        [
            helper.make_tensor_value_info(
                INPUT, TensorProto.UINT8, ["batch", network.side, network.side, 3]
            )
        ],
        [helper.make_tensor_value_info(output, TensorProto.FLOAT, shape)],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    opsets = [helper.make_opsetid("", opset)]
    return helper.make_model(
        graph, opset_imports=opsets, ir_version=helper.find_min_ir_version_for(opsets)
    )


def tensors(network: Network, names: list[str], images: np.ndarray) -> dict[str, np.ndarray]:
    """The values of tensors up to the pooling, for images uint8 [N, side, side, 3]."""
    import onnxruntime  # noqa: PLC0415 - takes a second

    proto = to_onnx(network, output="pooled")
    known = {each.name for each in proto.graph.output}
    proto.graph.output.extend(
        helper.make_tensor_value_info(name, TensorProto.FLOAT, None)
        for name in names
        if name not in known
    )
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(
        proto.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    parts = [
        session.run(names, {INPUT: images[start : start + _BATCH]})
        for start in range(0, len(images), _BATCH)
    ]
    return {name: np.concatenate([part[at] for part in parts]) for at, name in enumerate(names)}


def _fitted(network: Network) -> Network:
    """The network with a head that tells the classes apart."""
    images = striped(_FITTED_IMAGES, network.side, _SEED)
    features = tensors(network, ["pooled"], images)["pooled"].reshape(len(images), -1)
    features = np.hstack([features, np.ones((len(features), 1), np.float32)]).astype(np.float64)
    wanted = 8.0 * np.eye(CLASSES)[np.arange(len(images)) % CLASSES] - 4.0
    penalty = _RIDGE * np.trace(features.T @ features) / features.shape[1]
    solution = np.linalg.solve(
        features.T @ features + penalty * np.eye(features.shape[1]), features.T @ wanted
    )
    head = solution[:-1].T.astype(np.float32)[..., None, None]
    return network._replace(head=head, head_bias=solution[-1].astype(np.float32))
