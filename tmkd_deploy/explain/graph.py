"""An ONNX graph that can be walked, and the names of the user's layers within it.

The exporter names each constant after the module it belongs to, such as
`classifier.network.backbone.layer1.0.conv1.bias`; that is how a node finds its way back.
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
# what TensorRT puts between the names of the nodes that it makes one layer of, as in
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
    """Nodes by the tensors that they make and take, and constants by name."""

    def __init__(self, proto: onnx.ModelProto) -> None:
        self.nodes = list(proto.graph.node)
        self.place = {id(node): number for number, node in enumerate(self.nodes)}
        self._constants = {tensor.name: tensor for tensor in proto.graph.initializer}
        self._maker = {name: node for node in self.nodes for name in node.output}
        self._takers: dict[str, list[onnx.NodeProto]] = defaultdict(list)
        self._fixed = set(self._constants)
        for node in self.nodes:  # a file lists its nodes in an order in which they can run
            if all(name in self._fixed for name in node.input if name):
                self._fixed.update(node.output)
            for name in dict.fromkeys(node.input):
                self._takers[name].append(node)

    def maker(self, tensor: str) -> onnx.NodeProto | None:
        """The node that makes a tensor; None for an input of the graph or a constant."""
        return self._maker.get(tensor)

    def takers(self, node: onnx.NodeProto) -> list[onnx.NodeProto]:
        """The nodes that take what `node` makes."""
        return [taker for name in node.output for taker in self._takers[name]]

    def is_constant(self, tensor: str) -> bool:
        """Whether a tensor is stored in the file, or computed from what is stored alone."""
        return tensor in self._fixed

    def constant(self, tensor: str) -> np.ndarray | None:
        """The value of a stored tensor; None where it is not stored."""
        found = self._constants.get(tensor)
        return None if found is None else numpy_helper.to_array(found)

    def data_inputs(self, node: onnx.NodeProto) -> list[str]:
        """The inputs of a node that depend on the image."""
        return [name for name in node.input if name and not self.is_constant(name)]

    def weighted(self) -> Iterator[tuple[onnx.NodeProto, str]]:
        """Convolutions and matrix products with a constant weight, each with that weight."""
        for node in self.nodes:
            # a product of two activations, as in attention, holds no weight
            kinds = [self.is_constant(name) for name in node.input[:2]]
            if node.op_type in WEIGHTED and kinds == [False, True]:
                yield node, node.input[1]

    def weight_quantizer(self, weight: str) -> onnx.NodeProto | None:
        """The node that makes a float weight of a stored integer one; None for a float weight."""
        node = self.maker(weight)
        while node is not None and node.op_type in TRANSPARENT:
            node = self.maker(node.input[0])
        return node if node is not None and node.op_type == DEQUANTIZE else None

    def is_float(self, node: onnx.NodeProto) -> bool:
        """Whether a node is a layer whose weight is not quantized."""
        weights = [weight for each, weight in self.weighted() if each is node]
        return bool(weights) and self.weight_quantizer(weights[0]) is None

    def layer(self, node: onnx.NodeProto) -> str | None:
        """The user's name of a node that holds a layer's weight; None for any other."""
        for name in node.input:
            for constant in self._constants_behind(name):
                found = _CONSTANT.match(constant)
                if found:
                    return found["layer"]
        if node.op_type == "MatMul":
            # a linear layer on many rows is a product and an addition, which holds the name
            for taker in self.takers(node):
                if taker.op_type == "Add":
                    return self.layer(taker)
        return None

    def near(self, node: onnx.NodeProto) -> str | None:
        """The layer that a node is or, where it holds no weight, the last one before it."""
        holder = node if self.layer(node) else self.holder(node)
        return None if holder is None else self.layer(holder)

    def holder(self, node: onnx.NodeProto) -> onnx.NodeProto | None:
        """The node that holds the weight of `near`."""
        if self.layer(node) is not None and node.op_type != DEQUANTIZE:
            return node
        seen: set[int] = set()
        waiting = [node]
        found: list[onnx.NodeProto] = []
        while waiting:
            current = waiting.pop()
            for name in current.input:
                maker = self.maker(name)
                if maker is None or id(maker) in seen:
                    continue
                seen.add(id(maker))
                if self.layer(maker) is None or maker.op_type == DEQUANTIZE:
                    waiting.append(maker)
                else:
                    found.append(maker)
        return max(found, key=lambda each: self.place[id(each)]) if found else None

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
            node = self.maker(tensor)
            for name in node.input if node is not None else ():
                yield from self._constants_behind(name)


class LayerNames:
    """From names that a runtime gives its layers to layers of the user's model.

    `graph` is the ONNX file that the engine was built from.
    """

    def __init__(self, graph: Graph) -> None:
        self._near = {}
        for node in graph.nodes:
            near = graph.near(node)
            for name in (node.name, *node.output):
                self._near[name] = near

    def of(self, name: str) -> str | None:
        """The layer that an engine's layer comes from; None where its name does not tell.

        Of several nodes that became one layer, the first that is known counts: it is the one with
        the weight.
        """
        for part in (name, *_BETWEEN.split(name)):
            plain = _REWRITTEN.sub("", part)
            found = self._near.get(plain) or self._near.get(f"node_{plain}")
            if found:
                return found
        return None
