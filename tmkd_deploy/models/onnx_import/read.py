"""Reading an ONNX file from anywhere: what it is, and what of it cannot be used."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from tmkd_deploy.errors import DataError, RequestError
from tmkd_deploy.printable import printable
from tmkd_deploy.runtime.onnx_check import UnsafeModelError, refuse_unsafe
from tmkd_deploy.runtime.regular_file import UnsuitableFileError, open_regular

if TYPE_CHECKING:
    import onnx

BYTES_AT_MOST = (1 << 31) - 1  # of one protobuf message
OLDEST_OPSET = 11
_FLOAT = 1
_QUANTIZED = ("QuantizeLinear", "DequantizeLinear", "QLinearConv", "ConvInteger", "MatMulInteger")
_WHOLE = (
    "Save it in one file: python -c \"import onnx; onnx.save(onnx.load('IN.onnx'), 'OUT.onnx')\""
)


@dataclass(frozen=True)
class OnnxFile:
    """A file that was read, and its one input.

    `channels_last` says that it takes [N, H, W, 3] and not [N, 3, H, W]. `fixed_batch` is 1 where
    it takes single images only, otherwise None. `size` is its height and width, None where any fit.
    """

    path: Path
    content: bytes
    proto: onnx.ModelProto
    input: str
    opset: int
    channels_last: bool
    fixed_batch: int | None
    size: tuple[int, int] | None


def read(path: Path) -> OnnxFile:
    """Read a file, of which nothing is executed.

    Raises:
        DataError: it cannot be read, is not a valid ONNX file, or has its weights elsewhere.
        RequestError: it is quantized already, or takes something else than images of float32.
    """
    import onnx  # noqa: PLC0415 - takes a second
    from google.protobuf.message import DecodeError  # noqa: PLC0415

    content = _content(path)
    try:
        refuse_unsafe(content)
        proto = onnx.load_from_string(content)
        onnx.checker.check_model(content)
    except UnsafeModelError as error:
        advice = _WHOLE if "another file" in error.what else "Export the model again, without them."
        raise DataError(f"The ONNX file {error.what}.", where=str(path), advice=advice) from error
    except (DecodeError, onnx.checker.ValidationError, UnicodeDecodeError, RuntimeError) as error:
        first_line = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise DataError(
            f"The file is not a valid ONNX graph: {printable(first_line, 200)}",
            where=str(path),
            advice="Export the model again.",
        ) from error
    opset = next((each.version for each in proto.opset_import if each.domain == ""), 0)
    if not OLDEST_OPSET <= opset <= onnx.defs.onnx_opset_version():
        raise _refused(path, f"has opset {opset}", f"Export it with opset {OLDEST_OPSET} to 20.")
    if any(node.op_type in _QUANTIZED for node in proto.graph.node):
        raise _refused(path, "is quantized already", "Give the file that it was quantized from.")
    return OnnxFile(path, content, proto, *_input(proto, path, opset))


def constants(file: OnnxFile) -> dict[str, Tensor]:
    """The numbers that a file holds, by name.

    Raises:
        RequestError: they are floating-point numbers of another type than float32.
    """
    return {each.name: tensor(each, file.path) for each in file.proto.graph.initializer}


def tensor(proto: Any, path: Path) -> Tensor:
    """One tensor of a file.

    Raises:
        RequestError: it has a type that is not converted.
    """
    import onnx  # noqa: PLC0415

    if proto.data_type in (onnx.TensorProto.FLOAT16, onnx.TensorProto.BFLOAT16):
        raise _refused(path, "has float16 weights", "Export it in float32; a target may use FP16.")
    try:
        numbers = onnx.numpy_helper.to_array(proto)
        return torch.from_numpy(numbers.copy())
    except (TypeError, ValueError, KeyError) as error:
        raise _refused(path, "holds a tensor that cannot be read", "Export it again.") from error


def _content(path: Path) -> bytes:
    try:
        with open_regular(path) as stream:
            content = stream.read(BYTES_AT_MOST + 1)
    except (OSError, UnsuitableFileError) as error:
        why = getattr(error, "strerror", None) or str(error)
        raise DataError(
            f"The ONNX file cannot be read: {why}.", where=str(path), advice="Check the path."
        ) from error
    if len(content) > BYTES_AT_MOST:
        raise DataError(
            "The file is larger than an ONNX file can be, 2 GiB.",
            where=str(path),
            advice="Name an ONNX file.",
        )
    return content


def _input(
    proto: onnx.ModelProto, path: Path, opset: int
) -> tuple[str, int, bool, int | None, tuple[int, int] | None]:
    constant = {each.name for each in proto.graph.initializer}
    inputs = [each for each in proto.graph.input if each.name not in constant]
    if len(inputs) != 1:
        raise _refused(path, f"has {len(inputs)} inputs", "Export it with one input, the images.")
    kind = inputs[0].type.tensor_type
    shape = [each.dim_value or None for each in kind.shape.dim]
    if kind.elem_type != _FLOAT:
        raise _refused(path, "takes no float32 images", "Export it with float32 images as input.")
    if len(shape) != 4 or not {3, None} & {shape[1], shape[3]}:
        shown = " x ".join(str(each or "any") for each in shape)
        raise _refused(
            path, f"takes an input of shape {shown}", "Export it for images of three channels."
        )
    last = shape[1] != 3 and shape[3] == 3
    height, width = shape[1:3] if last else shape[2:]
    if shape[0] not in (None, 1):
        raise _refused(
            path, f"takes {shape[0]} images at once", "Export it with a dynamic batch, or of one."
        )
    size = (height, width) if height and width else None
    return inputs[0].name, opset, last, shape[0], size


def _refused(path: Path, what: str, advice: str) -> RequestError:
    return RequestError(f"The ONNX file {what}.", where=str(path), advice=advice)
