"""Which module of the user's model a node of an exported graph comes from."""

from __future__ import annotations

import ast

import onnx

from tmkd_deploy.export.facts import MODULE

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
    for node in proto.graph.node:
        notes = {entry.key: entry.value for entry in node.metadata_props}
        del node.metadata_props[:]
        module = _module(notes.get(_SCOPES, "[]"))
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


def _module(scopes: str) -> str:
    """The innermost module in a list such as ['', 'classifier', 'classifier.network.fc', 'linear'].

    Empty where the node belongs to no module of the user's, such as a quantizer of ours.
    """
    modules = ast.literal_eval(scopes)[:-1]
    for scope in reversed(modules):
        root = next((each for each in _ROOTS if scope.startswith(each)), None)
        if root is not None:
            module = str(scope[len(root) :].partition(".parametrizations.")[0])
            return "" if module.startswith("quantizer_") else module
    return ""
