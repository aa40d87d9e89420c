"""Which module of the user's model a node of an exported graph comes from."""

from __future__ import annotations

import ast
from collections.abc import Iterable

import onnx

from tmkd_deploy.records.onnx_model import MODULE

_SCOPES = "pkg.torch.onnx.name_scopes"
_ROOTS = ("classifier.network.backbone.", "classifier.network.")


def remember_modules(proto: onnx.ModelProto) -> None:
    """Keep each node's module, and drop whatever else torch notes of where it comes from.

    Those notes name folders of the machine that exported, and can outweigh the weights of a small
    model.
    """
    del proto.graph.metadata_props[:]
    for value in (*proto.graph.input, *proto.graph.output, *proto.graph.initializer):
        del value.metadata_props[:]
    constants = {tensor.name for tensor in proto.graph.initializer}
    for node in proto.graph.node:
        notes = {entry.key: entry.value for entry in node.metadata_props}
        del node.metadata_props[:]
        # a batch norm that the exporter folds gives a convolution its own scopes, so the name of
        # the weight goes first
        module = _holder(node.input[1:2], constants) or _module(notes.get(_SCOPES, "[]"))
        if module:
            node.metadata_props.add(key=MODULE, value=module)


def carry_modules(before: onnx.ModelProto, after: onnx.ModelProto) -> None:
    """Note the modules anew in a graph made of `before` by a tool that drops notes."""
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
    """The module whose `weight` a node takes; empty where it takes none."""
    for name in weights:
        module, _, _ = name.rpartition(".weight")
        if name in constants and module:
            return _inside_network(module)
    return ""


def _module(scopes: str) -> str:
    """The innermost module in a list such as ['', 'classifier', 'classifier.network.fc', 'linear'].

    Empty where the node belongs to no module of the user's, such as a quantizer of ours.
    """
    modules = ast.literal_eval(scopes)[:-1]
    innermost = next((scope for scope in reversed(modules) if _inside_network(scope)), "")
    module = _inside_network(innermost).partition(".parametrizations.")[0]
    return "" if module.startswith("quantizer_") else module


def _inside_network(name: str) -> str:
    """A name as the user's model has it; empty where it is none of it."""
    root = next((each for each in _ROOTS if name.startswith(each)), None)
    return "" if root is None else name[len(root) :]
