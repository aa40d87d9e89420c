"""Where models come from: each origin is one file, and all of them offer this."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from tmkd_deploy.records.types import Normalisation

if TYPE_CHECKING:
    from torch import Tensor, nn


@dataclass(frozen=True)
class ModelSpec:
    """A model as a recipe names it, for `classes` classes and images of `height` x `width`."""

    model: str
    classes: int
    height: int
    width: int
    model_kwargs: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Built:
    """A model as its origin built it, returning logits [N, C].

    `normalisation` is the mean and standard deviation that its weights expect, and `side` the size
    of the images that they were trained on, each None if that is not known. `new_head` says which
    layer was replaced to fit the number of classes.
    """

    module: nn.Module
    normalisation: Normalisation | None = None
    side: int | None = None
    new_head: str | None = None


class Origin(Protocol):
    """One way to get a model.

    `name` says whose the models are, at the head of a sentence. `brings_weights`: a model arrives
    with the weights to start from, so that "auto" and "none" look for no others.
    """

    name: str
    brings_weights: bool

    def names(self) -> list[str]:
        """The names of its models, as a recipe gives them."""

    def build(self, spec: ModelSpec) -> Built:
        """The model with its initial weights.

        Raises:
            RequestError: it cannot be had.
            TypeError, ValueError, RuntimeError, AssertionError: it refuses the specification.
        """

    def has_pretrained(self, model: str) -> bool:
        """Whether it lists pretrained weights for `model`."""

    def pretrained_state(self, model: str) -> dict[str, Tensor]:
        """The published weights, head included.

        Raises:
            DataError: they cannot be had; without a network, within seconds.
        """

    def pretrained_shapes(self, model: str) -> dict[str, Tensor]:
        """The same on torch's meta device, without a download."""


class WithoutPublishedWeights:
    """What origins have in common whose models come with their weights, if with any."""

    brings_weights = True

    def has_pretrained(self, model: str) -> bool:
        """Nothing is published for it."""
        return False

    def pretrained_state(self, model: str) -> dict[str, Tensor]:
        """Not called: nothing is published."""
        raise NotImplementedError

    def pretrained_shapes(self, model: str) -> dict[str, Tensor]:
        """Not called: nothing is published."""
        raise NotImplementedError
