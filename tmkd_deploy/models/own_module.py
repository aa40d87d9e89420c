"""Modules that users wrote: made by their factories, and what they say of themselves."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import nn

from tmkd_deploy.errors import RequestError
from tmkd_deploy.models.interface import Built, ModelSpec
from tmkd_deploy.models.network import line_of
from tmkd_deploy.records.types import Normalisation

Factory = Callable[[int, tuple[int, int]], nn.Module]


def call(factory: Factory, spec: ModelSpec) -> Built:
    """What a factory builds.

    Raises:
        RequestError: the factory fails, takes other arguments or returns no module.
    """
    refuse_keywords(spec)
    try:
        module = factory(spec.classes, (spec.height, spec.width))
    except Exception as error:  # a factory may raise anything
        raise RequestError(
            f"The factory of {spec.model!r} failed: {str(error) or type(error).__name__}"
            f"{line_of(error)}.",
            advice="A factory takes the number of classes and (height, width).",
        ) from error
    return built(module, spec.model)


def refuse_keywords(spec: ModelSpec) -> None:
    """Refuse `model_kwargs`, which only timm's and torchvision's models take.

    Raises:
        RequestError: there are some.
    """
    if spec.model_kwargs:
        raise RequestError(
            f"{spec.model!r} takes no keywords.",
            where="student.model_kwargs",
            advice="A factory is given the number of classes and the image size; give every "
            "variant a name of its own.",
        )


def built(module: Any, model: str, new_head: str | None = None) -> Built:
    """A user's module with the normalisation that it states.

    `mean` and `std` count if they are lists or tuples of three numbers for pixels in [0, 1]. A
    tensor of that name does not: a module that has one normalises its input itself.

    Raises:
        RequestError: it is no module, or its `mean` or `std` are no such numbers.
    """
    if not isinstance(module, nn.Module):
        raise RequestError(
            f"{model!r} is a {type(module).__name__} and not a torch module.",
            advice="Return the module itself.",
        )
    return Built(module.float(), _normalisation(module, model), new_head=new_head)


def _normalisation(module: nn.Module, model: str) -> Normalisation | None:
    mean, std = getattr(module, "mean", None), getattr(module, "std", None)
    if not isinstance(mean, list | tuple) or not isinstance(std, list | tuple):
        return None
    try:
        numbers = [float(each) for each in mean], [float(each) for each in std]
    except (TypeError, ValueError):
        numbers = [], []
    if [len(each) for each in numbers] != [3, 3] or min(numbers[1]) <= 0:
        raise RequestError(
            f"'mean' and 'std' of {model!r} are no three numbers each, above 0 for 'std'.",
            advice="Give those of red, green and blue for pixels in [0, 1], or neither.",
        )
    return numbers
