"""Reading an ONNX file before a builder is given it, and naming the layer a builder refuses.

Builders take broken files for empty networks or end in errors of their own parsers, so what can be
wrong with a file is looked for here, in the same words for every runtime.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

from tmkd_deploy.errors import DataError
from tmkd_deploy.records.onnx_model import MODULE, QUANT_SCHEME
from tmkd_deploy.records.quant_scheme import QuantScheme
from tmkd_deploy.targets.target_profile import TargetProfile

if TYPE_CHECKING:
    import onnx

_AGAIN = "Export the student again."


def read_model(
    file: Path, quant_scheme: QuantScheme, image_size: int, profile: TargetProfile
) -> onnx.ModelProto:
    """The graph in `file`, which `profile` can be built from.

    Raises:
        DataError: it is no ONNX graph, is truncated or keeps weights elsewhere; it is written in an
            opset that the target cannot read; it takes other images than one of `image_size`; or it
            was quantized for another placement.
    """
    proto = _load(file)
    _refuse_weights_elsewhere(proto, file)
    _check(proto, file)
    _refuse_opset(proto, file, profile)
    _refuse_shapes(proto, file, image_size)
    refuse_other_quant_scheme(proto, file, quant_scheme)
    return proto


def refuse_other_quant_scheme(proto: onnx.ModelProto, file: Path, wanted: QuantScheme) -> None:
    """Raise where an INT8 model was exported for a runtime with another placement.

    Raises:
        DataError: its tag names another placement; TensorRT, for one, would read uint8 as int8 with
            no more than a warning, and accuracy would be gone.
    """
    tags = {entry.key: entry.value for entry in proto.metadata_props}
    quant_scheme = tags.get(QUANT_SCHEME, "none")
    if quant_scheme not in ("none", wanted.value):
        raise DataError(
            f"This model was quantized for another runtime: its activations are {quant_scheme}, "
            f"and {wanted.value} ones are needed.",
            where=str(file),
            advice="Export the student for this target instead of taking another target's file.",
        )


def opset_of(proto: onnx.ModelProto) -> int:
    """The opset of the standard operators; 0 where the file names none."""
    return next((entry.version for entry in proto.opset_import if entry.domain == ""), 0)


def refused_layer(proto: onnx.ModelProto, words: str) -> str | None:
    """The first node that a builder's words name, with its module in the user's model.

    Where no node is named but an operator is, the first node of that operator. None where the words
    name neither.
    """
    nodes = list(proto.graph.node)
    for names in (
        [{node.name, *node.output} for node in nodes],
        [{node.op_type} for node in nodes],
    ):
        for node, known in zip(nodes, names, strict=True):
            if any(_named(name, words) for name in known if name):
                return f"{_module(proto, node)}, the {node.op_type} node {node.name!r}"
    return None


def _named(name: str, words: str) -> bool:
    return re.search(rf"(?<![\w.]){re.escape(name)}(?![\w.]\w)(?!\w)", words) is not None


def _module(proto: onnx.ModelProto, node: onnx.NodeProto) -> str:
    """The module that a node was exported from, or the nearest one before it."""
    makers = {name: each for each in proto.graph.node for name in each.output}
    waiting, seen = [node], {node.name}
    for current in waiting:  # grows while it is walked: the nearest first
        for entry in current.metadata_props:
            if entry.key == MODULE:
                return f"{'' if current is node else 'after '}layer {entry.value!r}"
        found = [makers[name] for name in current.input if name in makers]
        waiting += [maker for maker in found if maker.name not in seen]
        seen.update(maker.name for maker in found)
    return "a layer without a name"


def _load(file: Path) -> onnx.ModelProto:
    import onnx  # noqa: PLC0415 - only builders need it
    from google.protobuf.message import DecodeError  # noqa: PLC0415

    unreadable = DataError(
        "The file is no ONNX graph, or only a part of one.", where=str(file), advice=_AGAIN
    )
    try:
        proto = onnx.load(str(file), load_external_data=False)
    except DecodeError as error:
        raise unreadable from error
    if not proto.graph.node:
        # stray bytes may well be "parsed" into an empty graph
        raise unreadable
    return proto


def _refuse_weights_elsewhere(proto: onnx.ModelProto, file: Path) -> None:
    from onnx.external_data_helper import ExternalDataInfo, uses_external_data  # noqa: PLC0415

    for tensor in proto.graph.initializer:
        if uses_external_data(tensor):
            beside = ExternalDataInfo(tensor).location
            missing = "" if (file.parent / beside).is_file() else ", which is missing"
            raise DataError(
                f"The weights {tensor.name!r} are kept in another file, {beside!r}{missing}; "
                "engines are built from one file alone.",
                where=str(file),
                advice="Export the student again, or save the model with its weights inside.",
            )


def _check(proto: onnx.ModelProto, file: Path) -> None:
    import onnx  # noqa: PLC0415 - only builders need it

    try:
        onnx.checker.check_model(proto)
    except onnx.checker.ValidationError as error:
        raise DataError(
            f"The file is no sound ONNX graph, or only a part of one: {str(error).strip()}",
            where=str(file),
            advice=_AGAIN,
        ) from error


def _refuse_opset(proto: onnx.ModelProto, file: Path, profile: TargetProfile) -> None:
    if opset_of(proto) > profile.opset_ceiling:
        raise DataError(
            f"The model is written in opset {opset_of(proto)}, and the target {profile.name!r} "
            f"reads up to opset {profile.opset_ceiling}.",
            where=str(file),
            advice=f"Export it for this target, with export.opset at most {profile.opset_ceiling}.",
        )


def _refuse_shapes(proto: onnx.ModelProto, file: Path, image_size: int) -> None:
    wanted = [1, image_size, image_size, 3]
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
        f"{entry.name} of {' x '.join(str(length or 'any') for length in shape)}"
        for entry, shape in zip(inputs, found, strict=True)
    )
    raise DataError(
        f"The model takes {shown or 'no input'}, and the engine is built for one input of "
        f"{' x '.join(map(str, wanted))}.",
        where=str(file),
        advice="Export the student with the recipe's own data.image_size.",
    )
