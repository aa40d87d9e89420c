"""An ONNX graph with lookups by tensor, and the names of the user's layers within it.

The exporter names each constant after its module, such as
`classifier.network.backbone.layer1.0.conv1.bias`, which identifies the layer of a node.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator

import numpy as np
import onnx
from onnx import numpy_helper

_CONSTANT = re.compile(
    r"^classifier\.network\.(?:backbone\.)?(?P<layer>.+?)"
    r"\.(?:parametrizations\.weight\.|weight|bias)"
)
# what runtimes append to a node's name when they rewrite it
_REWRITTEN = re.compile(r"(_token_\d+|_nchwc|_myl\d+_\d+|_kernel_time)+$")
# what TensorRT puts between the names of nodes that it fuses into one layer, as in
# "weight + Quantize + Conv + Relu", "Conv_1 || Conv_2", "PWN(Sigmoid, Mul)", "{ForeignNode[a...b]}"
_BETWEEN = re.compile(r"\.{3}|[\s+|,(){}\[\]]+")

QUANTIZE = "QuantizeLinear"
DEQUANTIZE = "DequantizeLinear"
WEIGHTED = ("Conv", "ConvTranspose", "Gemm", "MatMul")
# values pass through these unchanged, so a runtime moves quantization across them
TRANSPARENT = (
    *("Reshape", "Flatten", "Transpose", "Squeeze", "Unsqueeze", "Identity", "Dropout"),
    *("MaxPool", "Slice", "Expand", "Cast"),
)


class Graph:
    """An ONNX graph, `proto`, with producers, consumers and constants by tensor name."""

    def __init__(self, proto: onnx.ModelProto) -> None:
        self.proto = proto
        self.nodes = list(proto.graph.node)
        self.position = {id(node): number for number, node in enumerate(self.nodes)}
        self._constants = {tensor.name: tensor for tensor in proto.graph.initializer}
        self._producer = {name: node for node in self.nodes for name in node.output}
        self._consumers: dict[str, list[onnx.NodeProto]] = defaultdict(list)
        self._fixed = set(self._constants)
        for node in self.nodes:  # a file lists its nodes in topological order
            if all(name in self._fixed for name in node.input if name):
                self._fixed.update(node.output)
            for name in dict.fromkeys(node.input):
                self._consumers[name].append(node)

    def producer(self, tensor: str) -> onnx.NodeProto | None:
        """The node that produces a tensor; None for a graph input or a constant."""
        return self._producer.get(tensor)

    def consumers(self, node: onnx.NodeProto) -> list[onnx.NodeProto]:
        """The nodes that consume the outputs of `node`."""
        return [consumer for name in node.output for consumer in self._consumers[name]]

    def is_constant(self, tensor: str) -> bool:
        """Whether a tensor is stored in the file or computed only from stored tensors."""
        return tensor in self._fixed

    def constant(self, tensor: str) -> np.ndarray | None:
        """The value of a stored tensor; None if it is not stored."""
        found = self._constants.get(tensor)
        return None if found is None else numpy_helper.to_array(found)

    def data_inputs(self, node: onnx.NodeProto) -> list[str]:
        """The inputs of a node that depend on the image."""
        return [name for name in node.input if name and not self.is_constant(name)]

    def weighted(self) -> Iterator[tuple[onnx.NodeProto, str]]:
        """Convolutions and matrix products with a constant weight, each with that weight."""
        for node in self.nodes:
            # a product of two activations, as in attention, has no weight
            kinds = [self.is_constant(name) for name in node.input[:2]]
            if node.op_type in WEIGHTED and kinds == [False, True]:
                yield node, node.input[1]

    def weight_quantizer(self, weight: str) -> onnx.NodeProto | None:
        """The node that dequantizes a stored integer weight; None for a float weight."""
        node = self.producer(weight)
        while node is not None and node.op_type in TRANSPARENT:
            node = self.producer(node.input[0])
        return node if node is not None and node.op_type == DEQUANTIZE else None

    def is_float(self, node: onnx.NodeProto) -> bool:
        """Whether a node is a layer whose weight is not quantized."""
        weights = [weight for each, weight in self.weighted() if each is node]
        return bool(weights) and self.weight_quantizer(weights[0]) is None

    def layer(self, node: onnx.NodeProto) -> str | None:
        """The user's name of the layer whose weight a node has; None without a weight."""
        for name in node.input:
            for constant in self._constants_behind(name):
                found = _CONSTANT.match(constant)
                if found:
                    return found["layer"]
        if node.op_type == "MatMul":
            # a linear layer on many rows is a product and an addition, which has the name
            for consumer in self.consumers(node):
                if consumer.op_type == "Add":
                    return self.layer(consumer)
        return None

    def near(self, node: onnx.NodeProto) -> str | None:
        """The layer of a node or, if it has no weight, the last layer before it."""
        weight_node = node if self.layer(node) else self.weight_node(node)
        return None if weight_node is None else self.layer(weight_node)

    def weight_node(self, node: onnx.NodeProto) -> onnx.NodeProto | None:
        """The node that has the weight of the nearest layer."""
        if self.layer(node) is not None and node.op_type != DEQUANTIZE:
            return node
        seen: set[int] = set()
        waiting = [node]
        found: list[onnx.NodeProto] = []
        while waiting:
            current = waiting.pop()
            for name in current.input:
                producer = self.producer(name)
                if producer is None or id(producer) in seen:
                    continue
                seen.add(id(producer))
                if self.layer(producer) is None or producer.op_type == DEQUANTIZE:
                    waiting.append(producer)
                else:
                    found.append(producer)
        return max(found, key=lambda each: self.position[id(each)]) if found else None

    def where(self, node: onnx.NodeProto) -> str:
        """A node in words, such as `layer1.0.conv1` or `the Add after layer1.0.conv2`."""
        own, near = self.layer(node), self.near(node)
        if own is not None:
            return own
        return f"the {node.op_type} after {near}" if near else f"the {node.op_type} at the input"

    def _constants_behind(self, tensor: str) -> Iterator[str]:
        if tensor in self._constants:
            yield tensor
        elif tensor and self.is_constant(tensor):
            node = self.producer(tensor)
            for name in node.input if node is not None else ():
                yield from self._constants_behind(name)


class LayerNames:
    """Maps a runtime's layer names to layers of the user's model.

    `graph` is the ONNX file that the engine was built from.
    """

    def __init__(self, graph: Graph) -> None:
        self._near = {}
        for node in graph.nodes:
            near = graph.near(node)
            for name in (node.name, *node.output):
                self._near[name] = near

    def of(self, name: str) -> str | None:
        """The layer that an engine's layer implements; None if its name does not identify it.

        If several nodes were fused, the first known one counts: it is the one with the weight.
        """
        for part in (name, *_BETWEEN.split(name)):
            original = _REWRITTEN.sub("", part)
            found = self._near.get(original) or self._near.get(f"node_{original}")
            if found:
                return found
        return None
