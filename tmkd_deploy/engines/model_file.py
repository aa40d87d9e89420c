"""Validate an ONNX file before building, and name the layer that a builder rejects.

Builders mistake damaged files for empty networks or fail with internal parser errors. Validating
here gives the same clear errors for every runtime.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING

from tmkd_deploy.errors import DataError
from tmkd_deploy.records.onnx_model import MODULE, QUANT_SCHEME
from tmkd_deploy.records.quant_scheme import QuantScheme
from tmkd_deploy.records.types import ImageSize, height_and_width
from tmkd_deploy.targets.target_profile import TargetProfile

if TYPE_CHECKING:
    import onnx

_EXPORT_AGAIN = "Export the student again."


def read_model(
    file: Path, quant_scheme: QuantScheme, image_size: ImageSize, profile: TargetProfile
) -> onnx.ModelProto:
    """Read a graph that the target's engine can be built from.

    Raises:
        DataError: the file is not an ONNX graph, is truncated or stores weights externally; its
            opset is too new for the target; its input is not one image of `image_size`; or it has
            another quantization scheme.
    """
    proto = _load(file)
    _refuse_weights_elsewhere(proto, file)
    _check(proto, file)
    _refuse_opset(proto, file, profile)
    _refuse_shapes(proto, file, image_size)
    refuse_other_quant_scheme(proto, file, quant_scheme)
    return proto


def refuse_other_quant_scheme(proto: onnx.ModelProto, file: Path, wanted: QuantScheme) -> None:
    """Refuse an INT8 model that was exported for a runtime with another quantization scheme.

    Raises:
        DataError: its metadata names another scheme. TensorRT, for example, would read uint8 as
            int8 with only a warning, which destroys accuracy.
    """
    metadata = {entry.key: entry.value for entry in proto.metadata_props}
    quant_scheme = metadata.get(QUANT_SCHEME, "none")
    if quant_scheme not in ("none", wanted.value):
        raise DataError(
            f"This model was quantized for another runtime: its activations are {quant_scheme}, "
            f"but must be {wanted.value}.",
            where=str(file),
            advice="Export the student for this target instead of using another target's file.",
        )


def opset_of(proto: onnx.ModelProto) -> int:
    """The opset of the standard operators; 0 if the file declares none."""
    return next((entry.version for entry in proto.opset_import if entry.domain == ""), 0)


def rejected_layer(proto: onnx.ModelProto, message: str) -> str | None:
    """The first node that a builder's message names, with its module in the user's model.

    If the message names only an operator, the first node with that operator; None if it names
    neither.
    """
    nodes = list(proto.graph.node)
    for names in (
        [{node.name, *node.output} for node in nodes],
        [{node.op_type} for node in nodes],
    ):
        for node, known in zip(nodes, names, strict=True):
            if any(_mentions(message, name) for name in known if name):
                return f"{_module(proto, node)}, the {node.op_type} node {node.name!r}"
    return None


def _mentions(message: str, name: str) -> bool:
    return re.search(rf"(?<![\w.]){re.escape(name)}(?![\w.]\w)(?!\w)", message) is not None


def _module(proto: onnx.ModelProto, node: onnx.NodeProto) -> str:
    """The module that a node was exported from, or the nearest module before it."""
    producers = {name: each for each in proto.graph.node for name in each.output}
    waiting, seen = [node], {node.name}
    for current in waiting:  # breadth-first; grows during iteration
        for entry in current.metadata_props:
            if entry.key == MODULE:
                return f"{'' if current is node else 'after '}layer {entry.value!r}"
        found = [producers[name] for name in current.input if name in producers]
        waiting += [each for each in found if each.name not in seen]
        seen.update(each.name for each in found)
    return "an unnamed layer"


def _load(file: Path) -> onnx.ModelProto:
    import onnx  # noqa: PLC0415 - needed only by builders
    from google.protobuf.message import DecodeError  # noqa: PLC0415

    unreadable = DataError(
        "The file is not an ONNX graph, or is truncated.", where=str(file), advice=_EXPORT_AGAIN
    )
    try:
        proto = onnx.load(str(file), load_external_data=False)
    except DecodeError as error:
        raise unreadable from error
    if not proto.graph.node:
        # arbitrary bytes may parse as an empty graph
        raise unreadable
    return proto


def _refuse_weights_elsewhere(proto: onnx.ModelProto, file: Path) -> None:
    from onnx.external_data_helper import ExternalDataInfo, uses_external_data  # noqa: PLC0415

    for tensor in proto.graph.initializer:
        if uses_external_data(tensor):
            # protobuf hands out bytes where a text is not valid UTF-8
            beside = os.fsdecode(ExternalDataInfo(tensor).location)
            missing = "" if (file.parent / beside).is_file() else ", which is missing"
            raise DataError(
                f"The weights {tensor.name!r} are stored in another file, {beside!r}{missing}; "
                "engines are built from a single file.",
                where=str(file),
                advice="Export the student again, or save the model with its weights inside.",
            )


def _check(proto: onnx.ModelProto, file: Path) -> None:
    import onnx  # noqa: PLC0415 - needed only by builders

    try:
        onnx.checker.check_model(proto)
    # the checker passes the bytes of names on, valid UTF-8 or not
    except (onnx.checker.ValidationError, UnicodeDecodeError) as error:
        raise DataError(
            f"The file is not a valid ONNX graph, or is truncated: {str(error).strip()}",
            where=str(file),
            advice=_EXPORT_AGAIN,
        ) from error


def _refuse_opset(proto: onnx.ModelProto, file: Path, profile: TargetProfile) -> None:
    if opset_of(proto) > profile.opset_ceiling:
        raise DataError(
            f"The model has opset {opset_of(proto)}, but the target {profile.name!r} supports ONNX "
            f"up to opset {profile.opset_ceiling}.",
            where=str(file),
            advice=f"Export it for this target, with export.opset at most {profile.opset_ceiling}.",
        )


def _refuse_shapes(proto: onnx.ModelProto, file: Path, image_size: ImageSize) -> None:
    wanted = [1, *height_and_width(image_size), 3]
    fixed = {tensor.name for tensor in proto.graph.initializer}
    inputs = [entry for entry in proto.graph.input if entry.name not in fixed]
    found = [
        [dimension.dim_value or None for dimension in entry.type.tensor_type.shape.dim]
        for entry in inputs
    ]
    fits = len(found) == 1 and len(found[0]) == len(wanted)
    if fits and all(has in (None, want) for has, want in zip(found[0], wanted, strict=True)):
        return
    shown = " and ".join(
        f"{entry.name} of shape {' x '.join(str(length or 'any') for length in shape)}"
        for entry, shape in zip(inputs, found, strict=True)
    )
    raise DataError(
        f"The model's input is {shown or 'missing'}, but the engine needs exactly one input of "
        f"shape {' x '.join(map(str, wanted))}.",
        where=str(file),
        advice="Export the student with the recipe's data.image_size.",
    )
