"""Building a torch.fx graph operator by operator, with shapes known and constants folded.

Every value is followed for two batch sizes at once. What is the same for both is a constant; what
differs depends on the batch, and tells which length of a shape is the batch's.
"""

from __future__ import annotations

import copy
import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, fx, nn

BATCHES = 2, 3
_MOST_ELEMENTS = 1 << 28  # of a value, for a batch of three


class UnsupportedOperatorError(ValueError):
    """An operator that cannot be converted; the message completes "The operator ...: "."""


@dataclass(frozen=True)
class Value:
    """What one name of the file stands for.

    `at` holds it for both `BATCHES`: numbers, or, where it depends on the images, tensors on the
    meta device, which have a shape and no numbers. `node` computes the latter, and is None for
    numbers.
    """

    node: fx.Node | None
    at: tuple[Tensor, Tensor]

    @property
    def is_constant(self) -> bool:
        """Whether its numbers are known, and the same for every batch."""
        first, second = self.at
        return self.node is None and first.shape == second.shape and torch.equal(first, second)

    @property
    def shape(self) -> tuple[int, ...]:
        """Its shape for the smaller batch."""
        return tuple(self.at[0].shape)

    def constant(self, what: str) -> Tensor:
        """Its numbers.

        Raises:
            UnsupportedOperatorError: they depend on the images or the batch; `what` names them.
        """
        if not self.is_constant:
            raise UnsupportedOperatorError(f"its {what} depends on the images")
        return self.at[0]

    def integers(self, what: str) -> list[int]:
        """Its numbers as a list."""
        return [int(each) for each in self.constant(what).reshape(-1).tolist()]


class GraphBuilder:
    """Collects the nodes and layers of a module that takes images [N, 3, H, W]."""

    def __init__(self, height: int, width: int) -> None:
        self.graph = fx.Graph()
        self.root = nn.Module()
        shapes = [(batch, 3, height, width) for batch in BATCHES]
        first, second = (torch.empty(shape, device="meta") for shape in shapes)
        self.images = Value(self.graph.placeholder("images"), (first, second))
        self.name = "layer"  # of the file's operator that is being converted
        self._rows: fx.Node | None = None

    def call(self, function: Callable[..., Any] | str, *given: Any, **more: Any) -> Value:
        """Call a function, or a method of the first argument by its name; values may be given.

        What depends on no image is computed at once.
        """
        results = []
        values = [each for each in _flat((given, more)) if isinstance(each, Value)]
        folded = all(each.node is None for each in values)
        for place in range(len(BATCHES)):
            taken, by_name = _mapped((given, more), partial(_at, place=place, meta=not folded))
            called = getattr(taken[0], function) if isinstance(function, str) else function
            results.append(called(*(taken[1:] if isinstance(function, str) else taken), **by_name))
        if folded:
            return _bounded(Value(None, (results[0], results[1])))
        arguments, named = _mapped((given, more), self._argument)
        if isinstance(function, str):
            node = self.graph.call_method(function, tuple(arguments), named)
        else:
            node = self.graph.call_function(function, tuple(arguments), named)
        return _bounded(Value(node, (results[0], results[1])))

    def pieces(self, function: Callable[..., Any], count: int, *given: Any) -> list[Value]:
        """The results of a function of an image that returns several."""
        values = [each for each in _flat(given) if isinstance(each, Value)]
        folded = all(each.node is None for each in values)
        results = [
            function(*_mapped(given, partial(_at, place=place, meta=not folded)))
            for place in range(len(BATCHES))
        ]
        if folded:
            return [Value(None, (results[0][n], results[1][n])) for n in range(count)]
        whole = self.graph.call_function(function, tuple(_mapped(given, self._argument)))
        return [
            Value(
                self.graph.call_function(_item, (whole, number)),
                (results[0][number], results[1][number]),
            )
            for number in range(count)
        ]

    def layer(self, module: nn.Module, value: Value) -> Value:
        """Apply a module, under the name of the operator."""
        if value.node is None:
            raise UnsupportedOperatorError("its input is a constant")
        name = self._unique()
        self.root.add_module(name, module.eval())
        empty = copy.deepcopy(module).to("meta")
        first, second = (empty(each) for each in value.at)
        return _bounded(Value(self.graph.call_module(name, (value.node,)), (first, second)))

    def finished(self, output: Value) -> fx.GraphModule:
        """The module whose result is `output`."""
        assert output.node is not None
        self.graph.output(output.node)
        return without_dead_code(fx.GraphModule(self.root, self.graph))

    def module_of(self, value: Value) -> nn.Module | None:
        """The module that computes a value; None if a function does."""
        node = value.node
        if node is None or node.op != "call_module":
            return None
        return self.root.get_submodule(str(node.target))

    def _argument(self, given: Any) -> Any:
        """A value as the argument of a node."""
        if not isinstance(given, Value):
            return given
        if given.node is not None:
            return given.node
        if given.is_constant:
            numbers = given.at[0]
            return numbers.item() if numbers.ndim == 0 else self._held(numbers)
        first, second = given.at
        of_batch = (first.shape[:1], second.shape[:1]) == ((BATCHES[0],), (BATCHES[1],))
        if not of_batch or not all(torch.equal(row, second[0]) for row in (*first, *second)):
            raise UnsupportedOperatorError("a constant of it depends on the batch")
        if self._rows is None:
            self._rows = self.graph.call_method("size", (self.images.node, 0))
        same = [-1] * (first.ndim - 1)
        return self.graph.call_method("expand", (self._held(first[:1]), self._rows, *same))

    def _held(self, numbers: Tensor) -> fx.Node:
        """Numbers that the module holds; as a parameter, which fx traces as it traces a layer's."""
        name = self._unique("constant")
        held = nn.Parameter(numbers.clone(), requires_grad=False)
        self.root.register_parameter(name, held)
        return self.graph.get_attr(name)

    def _unique(self, suffix: str = "") -> str:
        name = re.sub(r"\W+", "_", f"{self.name} {suffix}", flags=re.ASCII).strip("_")[:80]
        name = name if name and not name[0].isdigit() else f"layer_{name}"
        found, number = name, 1
        while hasattr(self.root, found):
            number += 1
            found = f"{name}_{number}"
        return found


def without_dead_code(module: fx.GraphModule) -> fx.GraphModule:
    """`module` without nodes, layers and constants that nothing uses."""
    module.graph.eliminate_dead_code()
    return fx.GraphModule(module, module.graph)


def _item(pieces: Sequence[Any], number: int) -> Any:
    return pieces[number]


def _at(given: Any, place: int, *, meta: bool) -> Any:
    if not isinstance(given, Value):
        return given
    found = given.at[place]
    # numbers may meet tensors without numbers only as such
    return found.to("meta") if meta and found.ndim else found


def _flat(given: Any) -> list[Any]:
    if isinstance(given, dict):
        given = list(given.values())
    if isinstance(given, tuple | list):
        return [inner for each in given for inner in _flat(each)]
    return [given]


def _mapped(given: Any, change: Callable[[Any], Any]) -> Any:
    """`given` with all values changed, in tuples, lists and dictionaries as well."""
    if isinstance(given, dict):
        return {name: _mapped(each, change) for name, each in given.items()}
    if isinstance(given, tuple | list):
        return type(given)(_mapped(each, change) for each in given)
    return change(given)


def _bounded(value: Value) -> Value:
    if math.prod(value.at[1].shape) > _MOST_ELEMENTS:
        raise UnsupportedOperatorError("its result takes too much memory")
    return value
