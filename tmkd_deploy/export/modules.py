"""Record which module of the user's model each node was exported from."""

from __future__ import annotations

import ast
from collections.abc import Iterable

import onnx

from tmkd_deploy.records.layer_names import PREFIXES
from tmkd_deploy.records.onnx_model import MODULE

_SCOPES = "pkg.torch.onnx.name_scopes"
_NETWORK = "classifier.network."
_ROOTS = (*(_NETWORK + prefix for prefix in PREFIXES), _NETWORK)


def remember_modules(proto: onnx.ModelProto) -> None:
    """Keep each node's module and drop torch's other metadata.

    That metadata contains paths of the exporting machine and can exceed the weights of a small
    model in size.
    """
    del proto.graph.metadata_props[:]
    for value in (*proto.graph.input, *proto.graph.output, *proto.graph.initializer):
        del value.metadata_props[:]
    constants = {tensor.name for tensor in proto.graph.initializer}
    for node in proto.graph.node:
        metadata = {entry.key: entry.value for entry in node.metadata_props}
        del node.metadata_props[:]
        # a folded batch norm overwrites a convolution's scopes, so its weight's name comes first
        module = _holder(node.input[1:2], constants) or _module(metadata.get(_SCOPES, "[]"))
        if module:
            node.metadata_props.add(key=MODULE, value=module)


def carry_modules(before: onnx.ModelProto, after: onnx.ModelProto) -> None:
    """Restore the modules in a graph that a tool made from `before` without their metadata."""
    known = {
        name: entry.value
        for node in before.graph.node
        for entry in node.metadata_props
        if entry.key == MODULE
        for name in (node.name, *node.output)
    }
    for node in after.graph.node:
        names = [name for name in (node.name, *node.output) if name in known]
        if names and not any(entry.key == MODULE for entry in node.metadata_props):
            node.metadata_props.add(key=MODULE, value=known[names[0]])


def _holder(weights: Iterable[str], constants: set[str]) -> str:
    """The module whose `weight` a node has; empty if it has none."""
    for name in weights:
        module, _, _ = name.rpartition(".weight")
        if name in constants and module:
            return _inside_network(module)
    return ""


def _module(scopes: str) -> str:
    """The innermost module in a list such as ['', 'classifier', 'classifier.network.fc', 'linear'].

    Empty if the node belongs to no module of the user's model, such as a quantizer.
    """
    modules = ast.literal_eval(scopes)[:-1]
    innermost = next((scope for scope in reversed(modules) if _inside_network(scope)), "")
    module = _inside_network(innermost).partition(".parametrizations.")[0]
    return "" if module.startswith("quantizer_") else module


def _inside_network(name: str) -> str:
    """A module's name within the user's model; empty if it is outside."""
    root = next((each for each in _ROOTS if name.startswith(each)), None)
    return "" if root is None else name[len(root) :]
