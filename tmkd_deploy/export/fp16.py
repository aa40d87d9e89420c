"""Convert a graph to FP16 for builders that follow the types in the file."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx
from onnx import GraphProto, NodeProto, TensorProto, helper, numpy_helper
from onnx.defs import OpSchema, SchemaError

from tmkd_deploy.errors import RequestError
from tmkd_deploy.export.unused_constants import drop_unused_constants

# the oldest opset in which QuantizeLinear and DequantizeLinear accept FP16 scales
OLDEST_TYPED = 19

# attributes that specify the type of a node's output
_RESULT_TYPES = ("to", "dtype", "output_dtype")


def to_fp16(proto: onnx.ModelProto) -> onnx.ModelProto:
    """The same graph in FP16 instead of FP32; its inputs and outputs keep their types.

    If the standard does not allow FP16 for an input or output of an operator, such as the scales of
    Resize, it stays FP32 behind a Cast. Constants beyond FP16's range are clipped, and those too
    small become its smallest number, because a scale must not become zero.

    Raises:
        RequestError: the graph branches or loops, or has an operator outside the ONNX standard.
    """
    inferred = onnx.shape_inference.infer_shapes(proto, check_type=True, strict_mode=True)
    typed = onnx.ModelProto()
    typed.CopyFrom(proto)
    _Typing(typed, _float_tensors(inferred.graph)).rewrite()
    onnx.checker.check_model(typed, full_check=True)
    return typed


class _Typing:
    """Rewrites a graph so that each FP32 tensor becomes FP16 under the same name.

    Operators that do not support FP16 get an FP32 copy of the tensor. For the graph's inputs and
    outputs the original name is the FP32 tensor's, and the FP16 tensor gets a longer one.
    """

    def __init__(self, model: onnx.ModelProto, floats: set[str]) -> None:
        self._graph = model.graph
        self._opsets = {entry.domain: entry.version for entry in model.opset_import}
        self._floats = floats
        self._constants = {tensor.name: tensor for tensor in model.graph.initializer}
        ends = (*model.graph.input, *model.graph.output)
        self._ends = {value.name for value in ends if value.name in floats}
        self._fp32_copies: set[str] = set()
        self._nodes: list[NodeProto] = []

    def rewrite(self) -> None:
        """Rewrite the graph's nodes and constants."""
        graph = self._graph
        for value in graph.input:
            if value.name in self._ends:
                self._fp32_copies.add(value.name)
                self._cast_down(value.name)
        for node in graph.node:
            self._add(node)
        for value in graph.output:
            if value.name in self._ends and value.name not in self._fp32_copies:
                self._cast_up(value.name)
        del graph.node[:], graph.value_info[:]
        graph.node.extend(self._nodes)
        for name in self._floats & self._constants.keys():
            tensor = self._constants[name]
            if name in self._fp32_copies:
                copy = graph.initializer.add()
                copy.CopyFrom(tensor)
                copy.name = self._fp32(name)
            tensor.CopyFrom(_halved(tensor))
        drop_unused_constants(graph)

    def _add(self, node: NodeProto) -> None:
        schema = _schema(node, self._opsets)
        takes_half = False
        for position, name in enumerate(node.input):
            if name not in self._floats:
                continue
            if _allows_half(schema.inputs, position):
                node.input[position] = self._fp16(name)
                takes_half = True
            else:
                if name not in self._fp32_copies and name not in self._constants:
                    self._cast_up(name)
                self._fp32_copies.add(name)
                node.input[position] = self._fp32(name)
        self._nodes.append(node)
        for position, name in enumerate(node.output):
            if name not in self._floats:
                continue
            allowed = _allows_half(schema.outputs, position)
            if allowed and (_retype(node) or takes_half):
                node.output[position] = self._fp16(name)
            else:
                self._fp32_copies.add(name)
                node.output[position] = self._fp32(name)
                self._cast_down(name)

    def _fp16(self, name: str) -> str:
        return f"{name}_fp16" if name in self._ends else name

    def _fp32(self, name: str) -> str:
        return name if name in self._ends else f"{name}_fp32"

    def _cast_down(self, name: str) -> None:
        self._cast(self._fp32(name), self._fp16(name), TensorProto.FLOAT16)

    def _cast_up(self, name: str) -> None:
        self._cast(self._fp16(name), self._fp32(name), TensorProto.FLOAT)

    def _cast(self, source: str, result: str, kind: int) -> None:
        name = f"cast_{source}_to_{result}"
        self._nodes.append(helper.make_node("Cast", [source], [result], name=name, to=kind))


def _schema(node: NodeProto, opsets: dict[str, int]) -> OpSchema:
    """The ONNX schema of a node's operator."""
    if any(attribute.HasField("g") or attribute.graphs for attribute in node.attribute):
        raise RequestError(
            f"The model cannot be converted to FP16: its {node.op_type} node {node.name!r} "
            "contains a subgraph.",
            advice="Choose a student without branches or loops.",
        )
    try:
        return onnx.defs.get_schema(node.op_type, opsets[node.domain], node.domain)
    except (SchemaError, KeyError) as error:
        raise RequestError(
            f"The model cannot be converted to FP16: ONNX does not define its operator "
            f"{node.domain}.{node.op_type}.",
            advice="Choose a student that uses only standard ONNX operators.",
        ) from error


def _float_tensors(graph: GraphProto) -> set[str]:
    """The names of all FP32 tensors, from inferred types."""
    values = (*graph.input, *graph.output, *graph.value_info)
    names = {v.name for v in values if v.type.tensor_type.elem_type == TensorProto.FLOAT}
    return names | {t.name for t in graph.initializer if t.data_type == TensorProto.FLOAT}


def _allows_half(parameters: Sequence[OpSchema.FormalParameter], position: int) -> bool:
    """Whether an operator's input or output may be FP16; the last parameter may repeat."""
    return "tensor(float16)" in parameters[min(position, len(parameters) - 1)].types


def _retype(node: NodeProto) -> bool:
    """Set the attributes that specify a node's output type to FP16; returns whether any exist."""
    found = False
    for attribute in node.attribute:
        if attribute.name in _RESULT_TYPES and attribute.i == TensorProto.FLOAT:
            attribute.i = TensorProto.FLOAT16
            found = True
        elif attribute.HasField("t") and attribute.t.data_type == TensorProto.FLOAT:
            attribute.t.CopyFrom(_halved(attribute.t))
            found = True
    return found


def _halved(tensor: TensorProto) -> TensorProto:
    values = numpy_helper.to_array(tensor)
    limits = np.finfo(np.float16)
    smallest = np.copysign(np.float32(limits.smallest_subnormal), values)
    representable = (values == 0) | (np.abs(values) >= limits.smallest_subnormal)
    clipped = np.clip(np.where(representable, values, smallest), limits.min, limits.max)
    return numpy_helper.from_array(clipped.astype(np.float16), tensor.name)
