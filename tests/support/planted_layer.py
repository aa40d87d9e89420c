"""A layer that no eight bits can hold, although the network computes what it did before."""

from __future__ import annotations

from collections.abc import MutableMapping

from torch import Tensor

PLANTED = "fc"
_NORMS_BEFORE = ("layer4.0.bn2", "layer4.0.downsample.2")
_TIMES_THE_LARGEST = 1000.0


def plant(parameters: MutableMapping[str, Tensor], prefix: str) -> None:
    """Shrink one feature of a resnet10t, and widen the weights of `PLANTED` for it as much.

    A weight's scale serves all features, so the weights of all others round to zero. The feature
    that matters least is taken, because rounding the features loses it.
    """
    weight = parameters[f"{prefix}{PLANTED}.weight"]
    shrunk = [
        parameters[f"{prefix}{norm}.{name}"]
        for norm in _NORMS_BEFORE
        for name in ("weight", "bias")
    ]
    matters = sum(each.abs() for each in shrunk) * weight.abs().sum(dim=0)
    feature = int(matters.argmin())
    factor = _TIMES_THE_LARGEST * weight.abs().max() / weight[:, feature].abs().min()
    for each in shrunk:
        each[feature] /= factor
    weight[:, feature] *= factor
