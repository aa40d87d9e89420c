"""The metadata of an ONNX file, read without the onnx package, which devices need not have.

An ONNX file is a protocol buffer, a ModelProto. Its `metadata_props` (field 14) are pairs of key
(field 1) and value (field 2); all other fields, above all the graph (field 7), are skipped.
Source: https://github.com/onnx/onnx/blob/main/onnx/onnx.proto and
https://protobuf.dev/programming-guides/encoding/
"""

from __future__ import annotations

from pathlib import Path

from tmkd_deploy.agent.agent_errors import DATA, AgentError
from tmkd_deploy.runtime.protobuf import fields

_GRAPH, _METADATA = 7, 14


def read_metadata(onnx: Path) -> dict[str, str]:
    """The metadata of an ONNX file: key to value.

    Raises:
        AgentError: `data`: the file is not a protocol buffer, or has no graph.
    """
    try:
        model = list(fields(memoryview(onnx.read_bytes())))
        if not any(content for number, content in model if number == _GRAPH):
            raise ValueError("there is no graph")
        entries = [_texts(content) for number, content in model if number == _METADATA]
        return {entry[1]: entry.get(2, "") for entry in entries}
    except (ValueError, KeyError) as error:
        raise AgentError(
            DATA, "The file is not an ONNX model.", str(onnx), "Export the student again."
        ) from error


def _texts(message: memoryview | int) -> dict[int, str]:
    """The fields of a message that holds text only."""
    if isinstance(message, int):
        raise ValueError("a number instead of a message")
    return {
        number: bytes(content).decode("utf-8")
        for number, content in fields(message)
        if not isinstance(content, int)
    }
