"""Refuse an ONNX model that could run for ever, read other files or call foreign code.

The check reads the bytes that a runtime will parse, before it does, and skips the weights.
Source: https://github.com/onnx/onnx/blob/main/onnx/onnx.proto
"""

from __future__ import annotations

import mmap
from pathlib import Path
from typing import Iterator

from tmkd_deploy.runtime.protobuf import fields

# by the kind of a message and the number of a field in it
_MESSAGES = {
    ("model", 7): "graph",
    ("graph", 1): "node",
    ("graph", 5): "tensor",
    ("node", 5): "attribute",
    ("attribute", 5): "tensor",
    ("attribute", 10): "tensor",
}
_REFUSED = {
    ("model", 20): "training steps",
    ("model", 25): "functions of its own",
    ("graph", 15): "sparse tensors, which may be small in the file and huge in memory",
    ("attribute", 6): "a graph within its graph, as loops and branches have",
    ("attribute", 11): "a graph within its graph, as loops and branches have",
    ("attribute", 22): "sparse tensors, which may be small in the file and huge in memory",
    ("attribute", 23): "sparse tensors, which may be small in the file and huge in memory",
    ("tensor", 13): "weights in another file",
}
_OPERATOR, _DOMAIN, _LOCATION = ("node", 4), ("node", 7), ("tensor", 14)
_GRAPH, _OPSET = 7, 8  # in a model
_NODE, _VERSION = 1, 2  # in a graph, and in an opset
_INPUT, _OUTPUT = 1, 2  # in a node
_NEWEST_OPSET = 1000  # there were 26 in nine years
_CONTROL_FLOW = frozenset({b"Loop", b"If", b"Scan", b"SequenceMap"})
_STANDARD_DOMAINS = frozenset({b"", b"ai.onnx"})
_MOST_FIELDS = 2_000_000  # some hundred times those of a large classifier; a second or two


class UnsafeModelError(ValueError):
    """The model is refused; `what` completes "The model ..."."""

    def __init__(self, what: str) -> None:
        super().__init__(f"it {what}.")
        self.what = what


def refuse_unsafe(model: bytes | str) -> None:
    """Check a model's bytes, or the file at a path.

    Memory is not checked: operators may still ask for any amount of it.

    Raises:
        UnsafeModelError: it is no ONNX model, or has control flow, functions, sparse tensors,
            weights in other files, or operators from outside the ONNX standard.
        OSError: the file cannot be read.
    """
    _check(view_of(model))


def view_of(model: bytes | str) -> memoryview:
    """A model's bytes, or the file at a path, mapped into memory."""
    if not isinstance(model, str):
        return memoryview(model)
    with Path(model).open("rb") as stream:
        if not stream.seek(0, 2):
            raise UnsafeModelError("is empty")
        return memoryview(mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ))


def refuse_endless(model: bytes | str) -> None:
    """Refuse a model, already checked by `refuse_unsafe`, that OpenVINO's reader does not end on.

    Raises:
        UnsafeModelError: operators need what they or later ones compute, which may be a circle; or
            the opset cannot be, and OpenVINO looks for each operator in every one below it.
    """
    view = view_of(model)
    versions = [
        version
        for opset in _messages(view, _OPSET)
        for number, version in fields(opset)
        if number == _VERSION
    ]
    if not all(isinstance(version, int) and version <= _NEWEST_OPSET for version in versions):
        raise UnsafeModelError("has an opset that cannot be")
    nodes = [node for graph in _messages(view, _GRAPH) for node in _messages(graph, _NODE)]
    made_at = {
        bytes(name): place
        for place, node in enumerate(nodes)
        for name in _messages(node, _OUTPUT)
        if len(name)
    }
    for place, node in enumerate(nodes):
        if any(made_at.get(bytes(name), -1) >= place for name in _messages(node, _INPUT)):
            raise UnsafeModelError("has an operator that needs what it or a later one computes")


def _messages(message: memoryview, wanted: int) -> Iterator[memoryview]:
    for number, content in fields(message):
        if number == wanted and not isinstance(content, int):
            yield content


def _check(model: memoryview) -> None:
    waiting = [("model", model)]
    left = _MOST_FIELDS
    has_graph = False
    try:
        while waiting:
            kind, message = waiting.pop()
            for number, content in fields(message):
                left -= 1
                if left < 0:
                    raise UnsafeModelError("has too many parts to check")
                field = (kind, number)
                inside = _MESSAGES.get(field)
                if inside is None:
                    _check_field(field, content)
                elif not isinstance(content, int):
                    waiting.append((inside, content))
                    has_graph = has_graph or inside == "graph"
    except UnsafeModelError:
        raise
    except ValueError as error:
        raise UnsafeModelError(f"is not an ONNX model: {error}") from error
    if not has_graph:
        raise UnsafeModelError("is not an ONNX model: it has no graph")


def _check_field(field: tuple[str, int], content: memoryview | int) -> None:
    if field in _REFUSED:
        raise UnsafeModelError(f"has {_REFUSED[field]}")
    if field == _LOCATION and content != 0:
        raise UnsafeModelError(f"has {_REFUSED['tensor', 13]}")
    if field in (_OPERATOR, _DOMAIN):
        name = b"" if isinstance(content, int) else bytes(content[:60])
        shown = repr(name.decode("utf-8", "replace"))
        if field == _OPERATOR and name in _CONTROL_FLOW:
            raise UnsafeModelError(f"has the operator {shown}, which may never end")
        if field == _DOMAIN and name not in _STANDARD_DOMAINS:
            raise UnsafeModelError(f"has an operator from outside the ONNX standard, of {shown}")
