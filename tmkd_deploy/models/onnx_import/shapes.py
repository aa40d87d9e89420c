"""Operators that move values without computing with them."""

from __future__ import annotations

import math
import operator as python
from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from tmkd_deploy.models.onnx_import.graph_builder import BATCHES, Value
from tmkd_deploy.models.onnx_import.operator import Convert, Operator

_MOST_ELEMENTS = 1 << 26  # of a constant that the file describes by its shape


def _reshape(operator: Operator) -> Value:
    given, target = operator.first, operator.input(1)
    if target.node is not None:
        raise operator.refuse("its shape depends on the images")
    shapes = [_filled(operator, *pair) for pair in zip(given.at, target.at, strict=True)]
    if given.node is None:
        first, second = (each.reshape(s) for each, s in zip(given.at, shapes, strict=True))
        return Value(None, (first, second))
    if shapes[0] == list(given.at[0].shape):
        return given
    lengths = _of_any_batch(operator, shapes)
    if lengths == [-1, math.prod(given.shape[1:])] and given.shape[0] == BATCHES[0]:
        return operator.builder.call(torch.flatten, given, 1)
    return operator.builder.call("reshape", given, *lengths)


def _filled(operator: Operator, value: Tensor, target: Tensor) -> list[int]:
    """The whole shape that a value gets, for a batch of its own where the file fixes one."""
    lengths = [int(each) for each in target.tolist()]
    if not operator.get("allowzero", 0):
        lengths = [each or value.shape[n] for n, each in enumerate(lengths)]
    total, batch = value.numel(), value.shape[0] if value.ndim else 1
    fixed = operator.fixed_batch
    if fixed and lengths and batch in BATCHES and operator.first.node is not None:
        known = math.prod(each for each in lengths if each != -1)
        leads = -1 not in lengths and known * batch == total * fixed
        if leads or (-1 in lengths[1:] and lengths[0] == fixed):
            lengths[0] = lengths[0] // fixed * batch
    if -1 in lengths:
        known = math.prod(each for each in lengths if each != -1)
        if not known or total % known:
            raise operator.refuse("the shape does not fit")
        lengths[lengths.index(-1)] = total // known
    if math.prod(lengths) != total:
        raise operator.refuse(
            "the shape does not fit" + (" another batch than the file's" if fixed else "")
        )
    return lengths


def _of_any_batch(operator: Operator, shapes: Sequence[Sequence[int]]) -> list[int]:
    """The shape for any batch: -1 where the lengths differ."""
    lengths = [one if one == other else -1 for one, other in zip(*shapes, strict=True)]
    if lengths.count(-1) > 1:
        raise operator.refuse("two lengths of its shape depend on the batch")
    return lengths


def _flatten(operator: Operator) -> Value:
    axis = operator.get("axis", 1) % len(operator.first.shape)
    if axis != 1:
        raise operator.refuse("it flattens from another axis than the second")
    if len(operator.first.shape) == 2:
        return operator.first
    return operator.builder.call(torch.flatten, operator.first, 1)


def _transpose(operator: Operator) -> Value:
    given = operator.first
    order = list(operator.get("perm", range(len(given.shape))[::-1]))
    node = given.node
    if node is not None and node.target == "permute":
        # a file for images with channels last undoes what was done for it
        source, before = node.args[0], node.args[1]
        if isinstance(before, tuple | list) and isinstance(source, torch.fx.Node):
            both = [before[each] for each in order]
            if both == sorted(range(len(order))) and source is operator.builder.images.node:
                return operator.builder.images
    return operator.builder.call("permute", given, tuple(order))


def _concat(operator: Operator) -> Value:
    values = [each for each in operator.inputs if each is not None]
    return operator.builder.call(torch.cat, values, operator.attributes["axis"])


def _split(operator: Operator) -> list[Value]:
    axis = operator.get("axis", 0) % len(operator.first.shape)
    given = operator.optional(1)
    sizes = given.integers("sizes") if given else operator.get("split", None)
    if sizes is None:
        length = operator.first.shape[axis]
        size = -(-length // operator.outputs)
        sizes = [min(size, length - start) for start in range(0, length, size)]
    return operator.builder.pieces(torch.split, len(sizes), operator.first, list(sizes), axis)


def _slice(operator: Operator) -> Value:
    given, ndim = operator.first, len(operator.first.shape)
    if operator.opset < 10:
        raise operator.refuse("its opset is too old")
    starts, ends = (operator.input(n).integers("bounds") for n in (1, 2))
    axes = operator.axes(3) or list(range(len(starts)))
    given_steps = operator.optional(4)
    steps = given_steps.integers("steps") if given_steps else [1] * len(starts)
    if given.node is None:
        chosen: list[slice] = [slice(None)] * ndim
        for axis, start, end, step in zip(axes, starts, ends, steps, strict=True):
            all_the_way = step < 0 and end < -given.shape[axis]
            chosen[axis % ndim] = slice(start, None if all_the_way else end, step)
        first, second = (torch.from_numpy(each.numpy()[tuple(chosen)].copy()) for each in given.at)
        return Value(None, (first, second))
    if any(each < 1 for each in steps):
        raise operator.refuse("it runs backwards")
    places = [slice(None)] * ndim
    for axis, start, end, step in zip(axes, starts, ends, steps, strict=True):
        stop = None if end >= given.shape[axis % ndim] and axis % ndim else end
        stop = None if end > 1 << 30 else stop
        places[axis % ndim] = slice(start, stop, step)
    return operator.builder.call(python.getitem, given, tuple(places))


def _squeeze(operator: Operator) -> Value:
    axes, shape = operator.axes(), operator.first.shape
    if axes is None:
        axes = [n for n, length in enumerate(shape) if length == 1]
    axes = sorted(each % len(shape) for each in axes)
    if axes == list(range(2, len(shape))):
        return operator.builder.call(torch.flatten, operator.first, 1) if axes else operator.first
    return operator.builder.call(torch.squeeze, operator.first, tuple(axes))


def _unsqueeze(operator: Operator) -> Value:
    axes, value = operator.axes() or [], operator.first
    ndim = len(value.shape) + len(axes)
    for axis in sorted(each % ndim for each in axes):
        value = operator.builder.call(torch.unsqueeze, value, axis)
    return value


def _gather(operator: Operator) -> Value:
    axis = operator.get("axis", 0) % len(operator.first.shape)
    index = operator.input(1)
    if index.node is not None:
        raise operator.refuse("its indices depend on the images")
    if len(index.shape) == 0:
        return operator.builder.call(
            torch.select, operator.first, axis, int(index.constant("index"))
        )
    if len(index.shape) == 1:
        return operator.builder.call(torch.index_select, operator.first, axis, index)
    if operator.first.node is not None:
        raise operator.refuse("its indices have several axes")
    first, second = (
        torch.index_select(each, axis, at.reshape(-1)).reshape(
            *each.shape[:axis], *at.shape, *each.shape[axis + 1 :]
        )
        for each, at in zip(operator.first.at, index.at, strict=True)
    )
    return Value(None, (first, second))


def _expand(operator: Operator) -> Value:
    given, target = operator.first, operator.input(1)
    shapes = [
        list(np.broadcast_shapes(tuple(each.shape), tuple(int(n) for n in wanted.tolist())))
        for each, wanted in zip(given.at, target.at, strict=True)
    ]
    _bounded(operator, shapes[1])
    if given.node is None:
        first, second = (each.expand(s) for each, s in zip(given.at, shapes, strict=True))
        return Value(None, (first, second))
    if shapes[0] == list(given.shape):
        return given
    lengths = [
        -1 if n >= len(shapes[0]) - len(given.shape) and given.shape[n] == each else each
        for n, each in enumerate(_of_any_batch(operator, shapes))
    ]
    return operator.builder.call("expand", given, *lengths)


def _shape(operator: Operator) -> Value:
    start, end = operator.get("start", 0), operator.get("end", None)
    first, second = (torch.tensor(list(each.shape)[start:end]) for each in operator.first.at)
    return Value(None, (first, second))


def _constant_of_shape(operator: Operator) -> Value:
    fill = operator.get("value", torch.zeros(1))
    shapes = [[int(n) for n in each.tolist()] for each in operator.first.at]
    _bounded(operator, shapes[1])
    first, second = (torch.full(each, fill.item(), dtype=fill.dtype) for each in shapes)
    return Value(None, (first, second))


def _bounded(operator: Operator, shape: Sequence[int]) -> None:
    if min(shape, default=0) < 0 or math.prod(shape) > _MOST_ELEMENTS:
        raise operator.refuse("it asks for too much memory")


def _range(operator: Operator) -> Value:
    start, end, step = (operator.input(n).constant("bounds").item() for n in range(3))
    if not step or not 0 <= (end - start) / step <= _MOST_ELEMENTS:
        raise operator.refuse("it asks for too much memory")
    numbers = torch.arange(start, end, step)
    return Value(None, (numbers, numbers))


def _pad(operator: Operator) -> Value:
    mode = operator.get("mode", b"constant").decode()
    pads = operator.input(1).integers("pads") if operator.optional(1) else operator.get("pads", [])
    fill = operator.optional(2)
    value = float(fill.constant("value").item()) if fill else float(operator.get("value", 0.0))
    ndim = len(operator.first.shape)
    if len(pads) != 2 * ndim or operator.optional(3):
        raise operator.refuse("it pads some axes only")
    if not any(pads):
        return operator.first
    torchs = {"constant": "constant", "reflect": "reflect", "edge": "replicate"}
    if mode not in torchs:
        raise operator.refuse(f"its mode is {mode}")
    # torch counts from the last axis on, and leaves out those that are not padded
    ends = [n for axis in reversed(range(ndim)) for n in (pads[axis], pads[axis + ndim])]
    while len(ends) > 2 and not any(ends[-2:]):
        ends = ends[:-2]
    more = (value,) if mode == "constant" else ()
    return operator.builder.call(F.pad, operator.first, tuple(ends), torchs[mode], *more)


OPERATORS: dict[str, Convert] = {
    "Reshape": _reshape,
    "Flatten": _flatten,
    "Transpose": _transpose,
    "Concat": _concat,
    "Split": _split,
    "Slice": _slice,
    "Squeeze": _squeeze,
    "Unsqueeze": _unsqueeze,
    "Gather": _gather,
    "Expand": _expand,
    "Shape": _shape,
    "ConstantOfShape": _constant_of_shape,
    "Range": _range,
    "Pad": _pad,
    "Identity": lambda operator: operator.first,
    "Dropout": lambda operator: operator.first,
}
