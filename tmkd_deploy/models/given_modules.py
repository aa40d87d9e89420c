"""Modules and factories that a program hands over, named `own:CLASS@HASH` while it runs.

The name holds a hash of everything that the module computes with, as far as that can be seen:
its tensors, the numbers and texts in its attributes, and the source of its classes. So whatever
counts the name counts the module, and a changed one reuses no results.
"""

from __future__ import annotations

import contextlib
import copy
import hashlib
import inspect
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from tmkd_deploy.errors import RequestError
from tmkd_deploy.models.interface import Built, ModelSpec, WithoutPublishedWeights
from tmkd_deploy.models.network import has_timm_methods, last_layer
from tmkd_deploy.models.own_module import Factory, built, call, refuse_keywords

PREFIX = "own:"
_LIBRARIES = {"torch", "timm", "torchvision"}  # whose versions do not count, as elsewhere
_given: dict[str, nn.Module | Factory] = {}


class GivenModules(WithoutPublishedWeights):
    """What the running program gave to `given`."""

    name = "the program"

    def names(self) -> list[str]:
        """The names of what is given at the moment."""
        return list(_given)

    def build(self, spec: ModelSpec) -> Built:
        """A copy of the module, with its weights and a head for the classes; or a factory's."""
        model = _given[spec.model]
        if not isinstance(model, nn.Module):
            return call(model, spec)
        refuse_keywords(spec)
        module = copy.deepcopy(model).cpu()
        return built(module, spec.model, _fit_head(module.eval(), spec))


@contextlib.contextmanager
def given(
    model: nn.Module | Factory, size: tuple[int, int], version: str | None = None
) -> Iterator[str]:
    """The name under which `model` can be created until the end.

    Args:
        model: a module, or a factory of the number of classes and (height, width).
        size: height and width of the images.
        version: stands for the source of the module's classes, for where that cannot be read.

    Raises:
        RequestError: the factory fails, or the source cannot be read and no version is given.
    """
    label = type(model).__name__ if isinstance(model, nn.Module) else _label(model)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)  # so that what a factory draws is the same each time
        probe = ModelSpec(label, 2, *size)
        module = model if isinstance(model, nn.Module) else call(model, probe).module
        source = [version] if version is not None else _sources(model, module)
        name = f"{PREFIX}{label}@{_hash(module, source)[:16]}"
    _given[name] = model
    try:
        yield name
    finally:
        _given.pop(name, None)


def _fit_head(module: nn.Module, spec: ModelSpec) -> str | None:
    """Replace a last layer for another number of classes; returns what is said of that."""
    if has_timm_methods(module):
        classes = getattr(module, "num_classes", spec.classes)
        if classes != spec.classes:
            module.reset_classifier(spec.classes)  # type: ignore[operator]
        layer = "the classifier"
    else:
        layer = last_layer(module, spec)
        head = module.get_submodule(layer)
        assert isinstance(head, nn.Linear)
        classes = head.out_features
        if classes != spec.classes:
            new = nn.Linear(head.in_features, spec.classes, bias=head.bias is not None)
            module.set_submodule(layer, new)
    if classes == spec.classes:
        return None
    return (
        f"the last layer, {layer}, starts from random values: it is for {classes} classes in the "
        f"module and for {spec.classes} here"
    )


def _label(factory: Factory) -> str:
    name = getattr(factory, "__name__", type(factory).__name__)
    return name if name.isidentifier() else "factory"


def _hash(module: nn.Module, source: list[str]) -> str:
    digest = hashlib.sha256(json.dumps(source).encode())
    for name, each in module.named_modules():
        values = {key: text for key, value in vars(each).items() if (text := _text(value))}
        values.pop("training", None)
        kind = f"{type(each).__module__}.{type(each).__qualname__}"
        digest.update(json.dumps([name, kind, values], sort_keys=True).encode())
    for name, tensor in module.state_dict().items():
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(_bytes(tensor))
    return digest.hexdigest()


def _text(value: Any) -> str | None:
    """An attribute as text, if it is a function, numbers, or made of plain values."""
    if inspect.isroutine(value):
        return f"{value.__module__}.{value.__qualname__}"
    if isinstance(value, np.ndarray | np.generic):
        value = torch.as_tensor(value)
    if isinstance(value, Tensor):
        return hashlib.sha256(_bytes(value)).hexdigest()
    try:
        return json.dumps(value)
    except (TypeError, ValueError):
        return None


def _bytes(tensor: Tensor) -> bytes:
    whole = tensor.detach().cpu().contiguous().flatten()
    return bytes(whole.view(torch.uint8).numpy().tobytes())


def _sources(model: nn.Module | Factory, module: nn.Module) -> list[str]:
    """The files in which the classes of a module, and its factory, are written."""
    kinds: list[Any] = [cls for each in module.modules() for cls in type(each).__mro__]
    if model is not module:
        kinds.append(inspect.unwrap(getattr(model, "func", model)))
    files = set()
    for kind in kinds:
        if kind in (object,) or kind.__module__.partition(".")[0] in _LIBRARIES:
            continue
        try:
            files.add(inspect.getsourcefile(kind) or "")
        except TypeError:  # of a class that was typed in
            files.add("")
    if not all(file and Path(file).is_file() for file in files):
        raise RequestError(
            f"The source of {type(module).__name__} cannot be read, so a change of its code would "
            "not be noticed.",
            advice="Put its class into a file, or state a version of your code: version='1'.",
        )
    return [Path(file).read_text(encoding="utf-8") for file in sorted(files)]
