"""Convert a graph to an opset older than the exporter supports."""

from __future__ import annotations

import onnx

from tmkd_deploy.errors import RequestError
from tmkd_deploy.export.modules import carry_modules
from tmkd_deploy.records.onnx_model import MODULE

# the oldest opset that torch's exporter supports
OLDEST_EXPORTED = 18
# introduced in opset 18
_NEW_ATTRIBUTE = "noop_with_empty_axes"


def lowered(proto: onnx.ModelProto, opset: int) -> onnx.ModelProto:
    """The same graph in `opset`, converted by ONNX's version converter and checked.

    Raises:
        RequestError: an operator has no equivalent in the older opset; the error names its layer.
    """
    _drop_defaults(proto)
    try:
        older = onnx.version_converter.convert_version(proto, opset)
        older.ir_version = onnx.helper.find_min_ir_version_for(older.opset_import)
        onnx.checker.check_model(older, full_check=True)
    except Exception as error:  # the converter raises RuntimeError, the checker various errors
        raise RequestError(
            f"The model cannot be converted to opset {opset}, the newest that the target supports: "
            f"{str(error).strip()}",
            where=_first_layer(proto, str(error)),
            advice="Choose a student of convolutions and ReLU for this target.",
        ) from error
    carry_modules(proto, older)
    return older


def _drop_defaults(proto: onnx.ModelProto) -> None:
    for node in proto.graph.node:
        for attribute in list(node.attribute):
            if attribute.name == _NEW_ATTRIBUTE and attribute.i == 0 and len(node.input) > 1:
                node.attribute.remove(attribute)


def _first_layer(proto: onnx.ModelProto, message: str) -> str | None:
    """The module of the first node whose operator the message names."""
    for node in proto.graph.node:
        if node.op_type in message.split() or f" {node.op_type} " in message:
            return next((each.value for each in node.metadata_props if each.key == MODULE), None)
    return None
