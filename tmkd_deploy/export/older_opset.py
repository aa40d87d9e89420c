"""Writing a graph in an opset that is older than any the exporter writes."""

from __future__ import annotations

import onnx

from tmkd_deploy.errors import RequestError
from tmkd_deploy.export.modules import carry_modules
from tmkd_deploy.records.onnx_model import MODULE

# the oldest that torch's exporter writes by itself
OLDEST_EXPORTED = 18
# before opset 18 no axes at all had one meaning only, so this attribute is new
_NEW_ATTRIBUTE = "noop_with_empty_axes"


def lowered(proto: onnx.ModelProto, opset: int) -> onnx.ModelProto:
    """The same graph in `opset`, converted by ONNX's own converter and checked.

    Raises:
        RequestError: an operator means something in no older opset; its layer is named.
    """
    _drop_defaults(proto)
    try:
        older = onnx.version_converter.convert_version(proto, opset)
        older.ir_version = onnx.helper.find_min_ir_version_for(older.opset_import)
        onnx.checker.check_model(older, full_check=True)
    except Exception as error:  # the converter's own are RuntimeError, the checker's many
        raise RequestError(
            f"The model cannot be written in opset {opset}, the newest that the target reads: "
            f"{str(error).strip()}",
            where=_first_layer(proto, str(error)),
            advice="Choose another student for this target, one of convolutions and ReLU.",
        ) from error
    carry_modules(proto, older)
    return older


def _drop_defaults(proto: onnx.ModelProto) -> None:
    for node in proto.graph.node:
        for attribute in list(node.attribute):
            if attribute.name == _NEW_ATTRIBUTE and attribute.i == 0 and len(node.input) > 1:
                node.attribute.remove(attribute)


def _first_layer(proto: onnx.ModelProto, words: str) -> str | None:
    """The module of the first node whose operator the converter names."""
    for node in proto.graph.node:
        if node.op_type in words.split() or f" {node.op_type} " in words:
            return next((each.value for each in node.metadata_props if each.key == MODULE), None)
    return None
