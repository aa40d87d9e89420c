"""Arithmetic by element; three activations that exporters write with it become layers again."""

from __future__ import annotations

import operator as python
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from tmkd_deploy.models.onnx_import.graph_builder import Value
from tmkd_deploy.models.onnx_import.operator import Convert, Operator

_TYPES = {
    1: torch.float32,
    2: torch.uint8,
    3: torch.int8,
    6: torch.int32,
    7: torch.int64,
    9: torch.bool,
    11: torch.float64,
}


def _add(operator: Operator) -> Value:
    """An addition, or the bias of a linear layer that has none yet."""
    values = [operator.first, operator.input(1)]
    for value, other in (values, values[::-1]):
        layer = operator.builder.module_of(value)
        is_bias = other.is_constant and len(other.shape) == 1
        if isinstance(layer, nn.Linear) and layer.bias is None and is_bias and operator.only_use:
            numbers = other.at[0].to(torch.float32)
            layer.bias = nn.Parameter(numbers.expand(layer.out_features).clone())
            return value
    return operator.builder.call(python.add, *values)


def _mul(operator: Operator) -> Value:
    """A product, or the SiLU or Hardswish that x * sigmoid(x) or x * hardsigmoid(x) is."""
    values = [operator.first, operator.input(1)]
    for value, other in (values, values[::-1]):
        node = other.node
        if node is None or node.op != "call_function" or node.args[0] is not value.node:
            continue
        if node.target is torch.sigmoid:
            return operator.builder.layer(nn.SiLU(), value)
        if node.target is F.hardsigmoid:
            return operator.builder.layer(nn.Hardswish(), value)
    return operator.builder.call(python.mul, *values)


def _div(operator: Operator) -> Value:
    first, second = operator.first, operator.input(1)
    if first.node is None and not first.at[0].is_floating_point():
        return operator.builder.call(_truncated, first, second)
    if hardswish := _hardswish_of(operator):
        return operator.builder.layer(nn.Hardswish(), hardswish)
    return operator.builder.call(python.truediv, first, second)


def _hardswish_of(operator: Operator) -> Value | None:
    """x where the operator computes x * clip(x + 3, 0, 6) / 6, as older opsets write Hardswish."""
    builder, divisor = operator.builder, operator.input(1)
    product = operator.first.node
    if not divisor.is_constant or divisor.at[0].numel() != 1 or divisor.at[0].item() != 6:
        return None
    if product is None or product.target is not python.mul:
        return None
    for factor, clipped in (product.args, product.args[::-1]):
        if not isinstance(clipped, torch.fx.Node) or clipped.op != "call_module":
            continue
        moved = clipped.args[0]
        is_relu6 = isinstance(builder.root.get_submodule(str(clipped.target)), nn.ReLU6)
        if not is_relu6 or not isinstance(moved, torch.fx.Node) or moved.target is not python.add:
            continue
        if factor in moved.args and 3.0 in moved.args and isinstance(factor, torch.fx.Node):
            return Value(factor, operator.first.at)  # of the same shape
    return None


def _truncated(first: Any, second: Any) -> Any:
    return torch.div(first, second, rounding_mode="trunc")


def _cast(operator: Operator) -> Value:
    wanted = _TYPES.get(operator.attributes["to"])
    if wanted is None:
        raise operator.refuse("it casts to a type other than float32")
    if operator.first.node is None:
        return operator.builder.call("to", operator.first, wanted)
    if wanted is not torch.float32:
        raise operator.refuse("it casts images to another type than float32")
    return operator.first


def _unary(function: Callable[..., Any]) -> Convert:
    return lambda operator: operator.builder.call(function, operator.first)


def _binary(function: Callable[..., Any]) -> Convert:
    return lambda operator: operator.builder.call(function, operator.first, operator.input(1))


def _bound(side: str, function: Callable[..., Any]) -> Convert:
    """The larger or the smaller of two values; torch has a function of its own for numbers."""

    def convert(operator: Operator) -> Value:
        if len(operator.inputs) != 2:
            raise operator.refuse("it has more than two inputs")
        for value, other in ((0, 1), (1, 0)):
            number = operator.input(other)
            if operator.input(value).node is not None and number.is_constant and not number.shape:
                bound = {side: number.at[0].item()}
                return operator.builder.call(torch.clamp, operator.input(value), **bound)
        return operator.builder.call(function, operator.first, operator.input(1))

    return convert


OPERATORS: dict[str, Convert] = {
    "Add": _add,
    "Mul": _mul,
    "Div": _div,
    "Sub": _binary(python.sub),
    "Pow": _binary(python.pow),
    "Mod": _binary(python.mod),
    "Equal": _binary(torch.eq),
    "Greater": _binary(torch.gt),
    "Less": _binary(torch.lt),
    "And": _binary(torch.logical_and),
    "Or": _binary(torch.logical_or),
    "Max": _bound("min", torch.maximum),
    "Min": _bound("max", torch.minimum),
    "Where": lambda operator: operator.builder.call(
        torch.where, operator.first, operator.input(1), operator.input(2)
    ),
    "Not": _unary(torch.logical_not),
    "Sqrt": _unary(torch.sqrt),
    "Reciprocal": _unary(torch.reciprocal),
    "Exp": _unary(torch.exp),
    "Log": _unary(torch.log),
    "Neg": _unary(torch.neg),
    "Abs": _unary(torch.abs),
    "Floor": _unary(torch.floor),
    "Ceil": _unary(torch.ceil),
    "Erf": _unary(torch.erf),
    "Tanh": _unary(torch.tanh),
    "Sigmoid": _unary(torch.sigmoid),
    "Softplus": _unary(F.softplus),
    "Mish": _unary(F.mish),
    "Cast": _cast,
}
