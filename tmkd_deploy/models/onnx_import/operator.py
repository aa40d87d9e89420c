"""One operator of a file, with its attributes and inputs, as the conversions see it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from tmkd_deploy.models.onnx_import.graph_builder import (
    GraphBuilder,
    UnsupportedOperatorError,
    Value,
)


@dataclass(frozen=True)
class Operator:
    """`inputs` are None where an optional one is left out; `outputs` counts the results.

    `fixed_batch` is the batch of a file that takes no other, None where it may have any length.
    `only_use` says whether nothing but this operator reads its first input.
    """

    builder: GraphBuilder
    kind: str
    inputs: Sequence[Value | None]
    attributes: dict[str, Any] = field(default_factory=dict)
    outputs: int = 1
    opset: int = 17
    fixed_batch: int | None = None
    only_use: bool = True

    @property
    def first(self) -> Value:
        """The first input."""
        return self.input(0)

    def input(self, place: int) -> Value:
        """An input that must be there."""
        found = self.optional(place)
        if found is None:
            raise UnsupportedOperatorError(f"its input {place} is missing")
        return found

    def optional(self, place: int) -> Value | None:
        """An input that may be left out."""
        return self.inputs[place] if place < len(self.inputs) else None

    def get(self, name: str, default: Any) -> Any:
        """An attribute."""
        return self.attributes.get(name, default)

    def weights(self, place: int, what: str) -> Tensor:
        """An input of floating-point numbers that must be constant, as a copy."""
        return self.input(place).constant(what).to(torch.float32).clone()

    def axes(self, place: int = 1) -> list[int] | None:
        """Axes, which newer opsets give as an input and older ones as an attribute."""
        given = self.optional(place)
        if given is not None:
            return given.integers("axes")
        found = self.get("axes", None)
        return None if found is None else list(found)

    def refuse(self, why: str) -> UnsupportedOperatorError:
        """An error to raise."""
        return UnsupportedOperatorError(why)


Convert = Callable[[Operator], Value | list[Value]]
