"""GELU, which exporters write as five operators before opset 20, as one layer again."""

from __future__ import annotations

import operator as python
from typing import Any

import torch
from torch import fx, nn

from tmkd_deploy.models.onnx_import.graph_builder import without_dead_code

_SQRT2 = 2**0.5


def restore_gelu(module: fx.GraphModule) -> fx.GraphModule:
    """`module` with a layer for every 0.5 * x * (1 + erf(x / sqrt(2))), in any order."""
    found = 0
    for node in list(module.graph.nodes):
        if node.target is not torch.erf:
            continue
        matched = _gelu_of(node)
        if matched is None:
            continue
        argument, result = matched
        name = f"gelu_{found}"
        module.add_module(name, nn.GELU())
        with module.graph.inserting_before(result):
            result.replace_all_uses_with(module.graph.call_module(name, (argument,)))
        found += 1
    return without_dead_code(module) if found else module


def _gelu_of(erf: fx.Node) -> tuple[fx.Node, fx.Node] | None:
    """x and the last operator of the GELU that contains `erf`."""
    scaled = erf.args[0]
    if not isinstance(scaled, fx.Node):
        return None
    argument = _scaled_by_root(scaled)
    plus = _only_user(erf)
    if argument is None or plus is None or plus.target is not python.add or 1.0 not in plus.args:
        return None
    missing: list[Any] = [argument, 0.5]
    last = plus
    while missing:
        product = _only_user(last)
        if product is None or product.target is not python.mul:
            return None
        (other,) = [each for each in product.args if each is not last] or [None]
        taken = _factors(other, argument)
        if not taken or any(each not in missing for each in taken):
            return None
        for each in taken:
            missing.remove(each)
        last = product
    return argument, last


def _scaled_by_root(node: fx.Node) -> fx.Node | None:
    """x of x / sqrt(2) or x * sqrt(1/2)."""
    if len(node.args) != 2 or not isinstance(node.args[0], fx.Node):
        return None
    argument, number = node.args
    scales: dict[Any, float] = {python.truediv: _SQRT2, python.mul: 1 / _SQRT2}
    wanted = scales.get(node.target)
    close = isinstance(number, float) and wanted and abs(number - wanted) < 1e-5
    return argument if close and isinstance(argument, fx.Node) else None


def _factors(value: Any, argument: fx.Node) -> list[Any]:
    """What a factor of the product is made of: x, one half, or both."""
    if value is argument or value == 0.5:
        return [value]
    if isinstance(value, fx.Node) and value.target is python.mul and len(value.users) == 1:
        inner = list(value.args)
        if all(each is argument or each == 0.5 for each in inner):
            return inner
    return []


def _only_user(node: fx.Node) -> fx.Node | None:
    return next(iter(node.users)) if len(node.users) == 1 else None
