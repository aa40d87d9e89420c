"""An ONNX file as a torch module."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, fx, nn

from tmkd_deploy.errors import RequestError
from tmkd_deploy.models.onnx_import.gelu import restore_gelu
from tmkd_deploy.models.onnx_import.graph_builder import (
    GraphBuilder,
    UnsupportedOperatorError,
    Value,
)
from tmkd_deploy.models.onnx_import.head import Head, head_of, outputs_of
from tmkd_deploy.models.onnx_import.operator import Operator
from tmkd_deploy.models.onnx_import.operators import OPERATORS
from tmkd_deploy.models.onnx_import.read import OnnxFile, constants, read, tensor
from tmkd_deploy.printable import printable

if TYPE_CHECKING:
    import onnx


@dataclass(frozen=True)
class Converted:
    """A module that maps images [N, 3, H, W] to logits [N, `classes`], and the file it is of.

    The module's images are as the file expects them, but for the order of the axes and, with
    `bgr`, of the channels.
    """

    module: fx.GraphModule
    file: OnnxFile
    head: Head
    classes: int
    bgr: bool


def convert(
    path: Path, height: int, width: int, *, output: str | None = None, bgr: bool = False
) -> Converted:
    """Convert the file at `path` for images of `height` x `width`.

    Args:
        path: of the file.
        height: of the images.
        width: of the images.
        output: the output with the scores of the classes; None if there is one such output.
        bgr: whether the file expects blue, green and red in this order.

    Raises:
        DataError: the file cannot be read.
        RequestError: an operator cannot be converted, or the file takes other images.
    """
    file = read(path)
    if file.size not in (None, (height, width)):
        fixed_height, fixed_width = file.size or (0, 0)
        raise RequestError(
            f"The ONNX file takes images of {fixed_height} x {fixed_width} pixels, and the "
            f"recipe's have {height} x {width}.",
            where="data.image_size",
            advice=f"Set data.image_size to [{fixed_height}, {fixed_width}].",
        )
    with torch.device("cpu"), torch.no_grad():
        builder = GraphBuilder(height, width)
        names = outputs_of(file, output)
        values = _values(builder, file, names)
        head = head_of(file, names, values)
        logits = values[head.logits]
        module = restore_gelu(builder.finished(logits))
        if bgr:
            _swap_channels(module, path)
    return Converted(module, file, head, logits.shape[1], bgr)


def _values(builder: GraphBuilder, file: OnnxFile, outputs: list[str]) -> dict[str, Value]:
    images = builder.images
    if file.channels_last:
        images = builder.call("permute", images, (0, 2, 3, 1))
    values = {name: Value(None, (each, each)) for name, each in constants(file).items()}
    values[file.input] = images
    needed = _needed(file.proto.graph, outputs)
    uses = Counter(name for node in needed for name in node.input)
    uses.update(outputs)
    for number, node in enumerate(needed):
        builder.name = node.name or f"{node.op_type}_{number}"
        try:
            results = _converted(builder, file, node, values, uses)
        except UnsupportedOperatorError as error:
            raise _refusal(file, node, str(error)) from error
        # a file may hold any shapes and attributes
        except (RuntimeError, TypeError, ValueError, KeyError, IndexError) as error:
            first_line = (str(error).splitlines() or [type(error).__name__])[0]
            raise _refusal(file, node, first_line) from error
        values.update(zip(node.output, results, strict=False))
    return values


def _converted(
    builder: GraphBuilder,
    file: OnnxFile,
    node: onnx.NodeProto,
    values: dict[str, Value],
    uses: Counter[str],
) -> list[Value]:
    if node.op_type == "Constant":
        numbers = _constant(node, file)
        return [Value(None, (numbers, numbers))]
    to_torch = OPERATORS.get(node.op_type)
    if to_torch is None:
        raise UnsupportedOperatorError("it is not among those that can be converted")
    inputs = [values[name] if name else None for name in node.input]
    of_images = [n for n in node.input if n and values[n].node is not None]
    found = to_torch(
        Operator(
            builder,
            node.op_type,
            inputs,
            {each.name: _attribute(each, file) for each in node.attribute},
            len(node.output),
            file.opset,
            file.fixed_batch,
            all(uses[name] == 1 for name in of_images),
        )
    )
    return found if isinstance(found, list) else [found]


def _constant(node: onnx.NodeProto, file: OnnxFile) -> Tensor:
    given = node.attribute[0]
    value = _attribute(given, file)
    if isinstance(value, Tensor):
        return value
    if given.name in ("value_int", "value_ints"):
        return torch.tensor(value, dtype=torch.int64)
    if given.name in ("value_float", "value_floats"):
        return torch.tensor(value, dtype=torch.float32)
    raise UnsupportedOperatorError("its value is not a number")


def _attribute(attribute: Any, file: OnnxFile) -> Any:
    import onnx  # noqa: PLC0415

    found = onnx.helper.get_attribute_value(attribute)
    if isinstance(found, onnx.TensorProto):
        return tensor(found, file.path)
    return found


def _needed(graph: onnx.GraphProto, outputs: list[str]) -> list[onnx.NodeProto]:
    """The operators that the outputs depend on, in the file's order, which is that of the work."""
    wanted, needed = set(outputs), []
    for node in reversed(graph.node):
        if wanted & set(node.output):
            wanted |= set(node.input)
            needed.append(node)
    return needed[::-1]


def _refusal(file: OnnxFile, node: onnx.NodeProto, why: str) -> RequestError:
    name = f" ({printable(node.name, 60)})" if node.name else ""
    return RequestError(
        f"The operator {printable(node.op_type, 40)}{name} of the ONNX file cannot be converted: "
        f"{printable(why, 200).rstrip('.')}.",
        where=str(file.path),
        advice="Export the model again with a dynamic batch and opset 17, or give the model itself "
        "and its weights.",
    )


def _swap_channels(module: fx.GraphModule, path: Path) -> None:
    """Let the first convolution take red, green and blue in place of blue, green and red."""
    (images,) = [node for node in module.graph.nodes if node.op == "placeholder"]
    for node in images.users:
        layer = module.get_submodule(str(node.target)) if node.op == "call_module" else None
        if not isinstance(layer, nn.Conv2d) or layer.groups != 1:
            if node.op == "call_method" and node.target == "size":
                continue
            raise RequestError(
                "The order of the channels can only be changed where a convolution comes first.",
                where="student.model_kwargs.channel_order",
                advice="Export the model for red, green and blue.",
            )
        layer.weight = nn.Parameter(layer.weight[:, [2, 1, 0]].clone())
