"""The metadata of an ONNX file, read without the onnx package, which devices need not have.

An ONNX file is a protocol buffer, a ModelProto. Its `metadata_props` (field 14) are pairs of key
(field 1) and value (field 2); all other fields, above all the graph (field 7), are skipped.
Source: https://github.com/onnx/onnx/blob/main/onnx/onnx.proto and
https://protobuf.dev/programming-guides/encoding/
"""

from __future__ import annotations

from tmkd_deploy.runtime.protobuf import fields

PRECISION = "tmkd_deploy.precision"  # of the engines that are built from the file
_GRAPH, _METADATA = 7, 14


def metadata_of(model: memoryview) -> dict[str, str]:
    """The metadata of an ONNX model: key to value.

    Raises:
        ValueError: it is not a protocol buffer, or has no graph.
    """
    content = list(fields(model))
    if not any(each for number, each in content if number == _GRAPH):
        raise ValueError("there is no graph")
    entries = [_texts(each) for number, each in content if number == _METADATA]
    if not all(1 in entry for entry in entries):
        raise ValueError("metadata without a key")
    return {entry[1]: entry.get(2, "") for entry in entries}


def _texts(message: memoryview | int) -> dict[int, str]:
    """The fields of a message that holds text only."""
    if isinstance(message, int):
        raise ValueError("a number instead of a message")
    return {
        number: bytes(content).decode("utf-8")
        for number, content in fields(message)
        if not isinstance(content, int)
    }
