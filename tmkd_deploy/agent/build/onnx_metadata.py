"""The metadata of an ONNX file, read without the onnx package, which devices need not have.

An ONNX file is a protocol buffer, a ModelProto. Its `metadata_props` (field 14) are pairs of key
(field 1) and value (field 2); all other fields, above all the graph (field 7), are skipped.
Source: https://github.com/onnx/onnx/blob/main/onnx/onnx.proto and
https://protobuf.dev/programming-guides/encoding/
"""

from __future__ import annotations

from pathlib import Path
from typing import Iterator

from tmkd_deploy.agent.agent_errors import DATA, AgentError

_GRAPH, _METADATA = 7, 14
_VARINT, _EIGHT_BYTES, _BYTES, _FOUR_BYTES = 0, 1, 2, 5


def read_metadata(onnx: Path) -> dict[str, str]:
    """The metadata of an ONNX file: key to value.

    Raises:
        AgentError: `data`: the file is not a protocol buffer, or has no graph.
    """
    try:
        fields = list(_fields(onnx.read_bytes()))
        if not any(content for number, content in fields if number == _GRAPH):
            raise ValueError("there is no graph")
        entries = [dict(_fields(content)) for number, content in fields if number == _METADATA]
        return {entry[1].decode("utf-8"): entry.get(2, b"").decode("utf-8") for entry in entries}
    except (ValueError, KeyError, IndexError) as error:
        raise AgentError(
            DATA, "The file is not an ONNX model.", str(onnx), "Export the student again."
        ) from error


def _fields(buffer: bytes) -> Iterator[tuple[int, bytes]]:
    """The number and content of each field that holds bytes; the others are skipped."""
    at = 0
    while at < len(buffer):
        key, at = _varint(buffer, at)
        number, kind = key >> 3, key & 7
        if kind == _BYTES:
            length, at = _varint(buffer, at)
            if at + length > len(buffer):
                raise ValueError("a field is longer than the file")
            yield number, buffer[at : at + length]
            at += length
        elif kind == _VARINT:
            _, at = _varint(buffer, at)
        elif kind in (_EIGHT_BYTES, _FOUR_BYTES):
            at += 8 if kind == _EIGHT_BYTES else 4
        else:
            raise ValueError(f"unknown wire type {kind}")


def _varint(buffer: bytes, at: int) -> tuple[int, int]:
    """The number that starts at `at`, seven bits per byte, and the offset of its end."""
    value = shift = 0
    while True:
        byte = buffer[at]
        value |= (byte & 0x7F) << shift
        at += 1
        if byte < 0x80:
            return value, at
        shift += 7
        if shift > 63:
            raise ValueError("a number is too long")
