"""Layers: convolutions, linear layers, normalisation, pooling and activations."""

from __future__ import annotations

import operator as python
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tmkd_deploy.models.onnx_import.graph_builder import Value
from tmkd_deploy.models.onnx_import.operator import Convert, Operator


def _conv(operator: Operator) -> Value:
    weight = operator.weights(1, "weight")
    if weight.ndim != 4:
        raise operator.refuse("it is not a convolution over images")
    bias = operator.weights(2, "bias") if operator.optional(2) else None
    strides = _pair(operator.get("strides", [1, 1]))
    dilations = _pair(operator.get("dilations", [1, 1]))
    kernel = (weight.shape[2], weight.shape[3])
    images, padding = _padded(operator, kernel, strides, dilations, 0.0)
    groups = operator.get("group", 1)
    with torch.device("meta"):
        layer = nn.Conv2d(
            weight.shape[1] * groups,
            weight.shape[0],
            kernel,
            strides,
            padding,
            dilations,
            groups,
            bias=bias is not None,
        )
    return operator.builder.layer(_with(layer, weight, bias), images)


def _gemm(operator: Operator) -> Value:
    if (operator.get("alpha", 1.0), operator.get("transA", 0)) != (1.0, 0):
        raise operator.refuse("its alpha or transA is not the usual one")
    weight = operator.weights(1, "weight")
    bias = operator.weights(2, "bias") if operator.optional(2) else None
    if bias is not None:
        bias = operator.get("beta", 1.0) * bias.reshape(-1)
    return _linear(operator, weight if operator.get("transB", 0) else weight.T, bias)


def _matmul(operator: Operator) -> Value:
    right = operator.input(1)
    if operator.first.node is not None and right.is_constant and len(right.shape) == 2:
        return _linear(operator, operator.weights(1, "weight").T, None)
    return operator.builder.call(torch.matmul, operator.first, right)


def _linear(operator: Operator, weight: Tensor, bias: Tensor | None) -> Value:
    with torch.device("meta"):
        layer = nn.Linear(weight.shape[1], weight.shape[0], bias=bias is not None)
    if bias is not None and len(bias) != len(weight):
        bias = bias.expand(len(weight)).clone()
    return operator.builder.layer(_with(layer, weight.contiguous(), bias), operator.first)


def _with(layer: Any, weight: Tensor, bias: Tensor | None) -> Any:
    layer.weight = nn.Parameter(weight)
    if bias is not None:
        layer.bias = nn.Parameter(bias)
    return layer


def _batch_norm(operator: Operator) -> Value:
    if operator.get("training_mode", 0):
        raise operator.refuse("the file was exported in training mode")
    names = ("scale", "bias", "mean", "variance")
    scale, bias, mean, variance = (operator.weights(1 + n, each) for n, each in enumerate(names))
    kind = nn.BatchNorm2d if len(operator.first.shape) == 4 else nn.BatchNorm1d
    layer = _with(kind(len(scale), operator.get("epsilon", 1e-5)), scale, bias)
    layer.running_mean, layer.running_var = mean, variance
    return operator.builder.layer(layer, operator.first)


def _layer_norm(operator: Operator) -> Value:
    ndim = len(operator.first.shape)
    axis = operator.get("axis", -1) % ndim
    weight = operator.weights(1, "scale")
    bias = operator.weights(2, "bias") if operator.optional(2) else torch.zeros_like(weight)
    shape = list(operator.first.shape[axis:])
    layer = _with(nn.LayerNorm(shape, operator.get("epsilon", 1e-5)), weight, bias)
    return operator.builder.layer(layer, operator.first)


def _max_pool(operator: Operator) -> Value:
    kernel = _pair(operator.attributes["kernel_shape"])
    strides = _pair(operator.get("strides", [1, 1]))
    dilations = _pair(operator.get("dilations", [1, 1]))
    images, padding = _padded(operator, kernel, strides, dilations, float("-inf"))
    ceil = bool(operator.get("ceil_mode", 0))
    layer = nn.MaxPool2d(kernel, strides, padding, dilations, ceil_mode=ceil)
    return operator.builder.layer(layer, images)


def _average_pool(operator: Operator) -> Value:
    kernel = _pair(operator.attributes["kernel_shape"])
    strides = _pair(operator.get("strides", [1, 1]))
    if _pair(operator.get("dilations", [1, 1])) != (1, 1):
        raise operator.refuse("it is dilated")
    counted = bool(operator.get("count_include_pad", 0))
    images, padding = _padded(operator, kernel, strides, (1, 1), 0.0)
    if images is not operator.first and not counted:
        raise operator.refuse("it pads one side more than the other")
    ceil = bool(operator.get("ceil_mode", 0))
    layer = nn.AvgPool2d(kernel, strides, padding, ceil_mode=ceil, count_include_pad=counted)
    return operator.builder.layer(layer, images)


def _global_average(operator: Operator) -> Value:
    return operator.builder.layer(nn.AdaptiveAvgPool2d(1), operator.first)


def _reduce_mean(operator: Operator) -> Value:
    axes, keep = operator.axes(), bool(operator.get("keepdims", 1))
    ndim = len(operator.first.shape)
    axes = sorted(each % ndim for each in (range(ndim) if axes is None else axes))
    if ndim == 4 and axes == [2, 3] and operator.first.node is not None:
        pooled = _global_average(operator)
        return pooled if keep else operator.builder.call(torch.flatten, pooled, 1)
    return operator.builder.call("mean", operator.first, axes, keep)


def _pair(given: Any) -> tuple[int, int]:
    height, width = (int(each) for each in given)
    return height, width


def _padded(
    operator: Operator,
    kernel: tuple[int, int],
    strides: tuple[int, int],
    dilations: tuple[int, int],
    value: float,
) -> tuple[Value, tuple[int, int]]:
    """The input, padded where its sides differ, and the padding that is left to the layer."""
    top, left, bottom, right = operator.get("pads", [0, 0, 0, 0])
    automatic = operator.get("auto_pad", b"NOTSET")
    if automatic in (b"SAME_UPPER", b"SAME_LOWER"):
        sides = []
        for length, size, stride, dilation in zip(
            operator.first.shape[2:], kernel, strides, dilations, strict=True
        ):
            all_of_it = max(0, (-(-length // stride) - 1) * stride + (size - 1) * dilation + 1)
            missing = max(0, all_of_it - length)
            less, more = missing // 2, missing - missing // 2
            sides.append((less, more) if automatic == b"SAME_UPPER" else (more, less))
        (top, bottom), (left, right) = sides
    if (top, left) == (bottom, right):
        return operator.first, (top, left)
    # torch pads from the last dimension on
    padded = operator.builder.call(
        F.pad, operator.first, (left, right, top, bottom), "constant", value
    )
    return padded, (0, 0)


def _clip(operator: Operator) -> Value:
    def bound(place: int, name: str) -> float | None:
        given = operator.optional(place)
        found = operator.get(name, None) if given is None else given.constant(name).item()
        return None if found is None else float(found)

    low, high = bound(1, "min"), bound(2, "max")
    if operator.first.node is None:
        return operator.builder.call(torch.clamp, operator.first, low, high)
    if (low, high) == (0.0, 6.0):
        return operator.builder.layer(nn.ReLU6(), operator.first)
    if low == 0.0 and (high is None or high > 3e38):
        return operator.builder.layer(nn.ReLU(), operator.first)
    if low is not None and high is not None and low < high:
        return operator.builder.layer(nn.Hardtanh(low, high), operator.first)
    return operator.builder.call(torch.clamp, operator.first, low, high)


def _hard_sigmoid(operator: Operator) -> Value:
    alpha, beta = operator.get("alpha", 0.2), operator.get("beta", 0.5)
    if abs(alpha - 1 / 6) < 1e-6 and beta == 0.5:
        return operator.builder.call(F.hardsigmoid, operator.first)
    scaled = operator.builder.call(python.mul, operator.first, alpha)
    moved = operator.builder.call(python.add, scaled, beta)
    return operator.builder.call(torch.clamp, moved, 0.0, 1.0)


def _gelu(operator: Operator) -> Value:
    approximate = operator.get("approximate", b"none").decode()
    return operator.builder.layer(nn.GELU(approximate), operator.first)


def _prelu(operator: Operator) -> Value:
    slope = operator.weights(1, "slope")
    if slope.numel() not in (1, operator.first.shape[1]):
        raise operator.refuse("its slope is not one per channel")
    layer = nn.PReLU(slope.numel())
    layer.weight = nn.Parameter(slope.reshape(-1))
    return operator.builder.layer(layer, operator.first)


def _softmax(operator: Operator) -> Value:
    ndim = len(operator.first.shape)
    axis = operator.get("axis", -1 if operator.opset >= 13 else 1) % ndim
    if operator.opset < 13 and axis != ndim - 1:
        raise operator.refuse("before opset 13 it covers several axes")
    function = torch.softmax if operator.kind == "Softmax" else torch.log_softmax
    return operator.builder.call(function, operator.first, axis)


OPERATORS: dict[str, Convert] = {
    "Conv": _conv,
    "Gemm": _gemm,
    "MatMul": _matmul,
    "BatchNormalization": _batch_norm,
    "LayerNormalization": _layer_norm,
    "MaxPool": _max_pool,
    "AveragePool": _average_pool,
    "GlobalAveragePool": _global_average,
    "GlobalMaxPool": lambda operator: operator.builder.call(
        torch.amax, operator.first, (2, 3), True
    ),
    "ReduceMean": _reduce_mean,
    "Relu": lambda operator: operator.builder.layer(nn.ReLU(), operator.first),
    "LeakyRelu": lambda operator: operator.builder.layer(
        nn.LeakyReLU(operator.get("alpha", 0.01)), operator.first
    ),
    "Elu": lambda operator: operator.builder.layer(
        nn.ELU(operator.get("alpha", 1.0)), operator.first
    ),
    "HardSwish": lambda operator: operator.builder.layer(nn.Hardswish(), operator.first),
    "PRelu": _prelu,
    "Clip": _clip,
    "HardSigmoid": _hard_sigmoid,
    "Gelu": _gelu,
    "Softmax": _softmax,
    "LogSoftmax": _softmax,
}
