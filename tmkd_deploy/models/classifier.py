"""Students and visual teachers: networks with built-in input normalisation."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from timm.utils import reparameterize_model
from torch import Tensor, nn

from tmkd_deploy.errors import RequestError
from tmkd_deploy.models import model_kwargs as keywords
from tmkd_deploy.models.interface import ModelSpec
from tmkd_deploy.models.network import CutNetwork, Network, line_of, network_of
from tmkd_deploy.models.origins import origin_of
from tmkd_deploy.records.types import ImageSize, Normalisation, height_and_width

_SAME_NORMALISATION = 0.05  # of 1, about a tenth of a usual standard deviation


class Classifier(nn.Module):
    """A network preceded by its input normalisation.

    `scale` and `offset` are 1/std and -mean/std: normalisation is one multiplication and one
    addition, and the exporter can fold 1/255 into the scale. They hold one value per channel,
    [1, 3, 1, 1], or a single value, [1, 1, 1, 1], which runtimes compute many times faster.
    """

    scale: Tensor
    offset: Tensor

    def __init__(self, network: nn.Module, mean: list[float], std: list[float]) -> None:
        super().__init__()
        self.network = network
        if len(set(mean)) == len(set(std)) == 1:
            mean, std = mean[:1], std[:1]
        deviation = torch.tensor(std).view(1, -1, 1, 1)
        self.register_buffer("scale", 1.0 / deviation)
        self.register_buffer("offset", -torch.tensor(mean).view(1, -1, 1, 1) / deviation)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """RGB images [N, 3, H, W] in [0, 1] to logits [N, C] and features [N, D]."""
        logits, features = self.network(images * self.scale + self.offset)
        return logits, features


def create(
    model: str,
    classes: int,
    model_kwargs: Mapping[str, Any],
    image_size: ImageSize,
    *,
    scratch: bool,
    normalisation: Normalisation | None = None,
) -> tuple[Classifier, int]:
    """The `model` that a recipe names, with its initial weights, and the width D of its features.

    It normalises with `normalisation`. By default, that is what its weights expect, or nothing for
    a model that brings weights and does not say. With `scratch`, other models use 128/255 for both,
    so that pixels become (pixel - 128) / 128 in every channel.

    Raises:
        RequestError: there is no such model, our list or the model refuses `model_kwargs`, or it
            does not accept images of `image_size`.
    """
    keywords.check(model_kwargs)
    origin = origin_of(model)
    spec = ModelSpec(model, classes, *height_and_width(image_size), model_kwargs)
    try:
        built = origin.build(spec)
    except (TypeError, ValueError, RuntimeError, AssertionError) as error:
        given = f" with {dict(model_kwargs)}" if model_kwargs else ""
        height, width = height_and_width(image_size)
        raise RequestError(
            f"{origin.name} could not create {model!r}{given}: {error}{line_of(error)}.",
            advice="Correct 'student.model_kwargs' in the recipe."
            if model_kwargs
            else "Check its name, the tag after its dot, and whether it takes images of "
            f"{height} x {width} pixels (data.image_size).",
        ) from error
    network, width = network_of(built, spec)
    if normalisation is None:
        if scratch and not origin.brings_weights:
            normalisation = [128 / 255] * 3, [128 / 255] * 3
        else:
            normalisation = built.normalisation or ([0.0] * 3, [1.0] * 3)
    return Classifier(network, *normalisation), width


def other_normalisation(classifier: Classifier, own: Normalisation, weights: str) -> str | None:
    """A warning if `weights` were trained with another normalisation than `own`."""
    network = classifier.network
    listed = network.normalisation if isinstance(network, Network) else None
    if weights == "none" or listed is None:
        return None
    pairs = zip(own[0] + own[1], listed[0] + listed[1], strict=True)
    if max(abs(mine - theirs) for mine, theirs in pairs) <= _SAME_NORMALISATION:
        return None
    return (
        f"the weights {weights!r} were trained with mean {_shown(listed[0])} and std "
        f"{_shown(listed[1])}, but data.mean and data.std are {_shown(own[0])} and "
        f"{_shown(own[1])}, so the model sees values that it was not trained on."
    )


def _shown(values: list[float]) -> str:
    return f"[{', '.join(f'{value:.3g}' for value in values)}]"


def merge_branches(classifier: Classifier) -> Classifier:
    """Merge the parallel branches of RepVGG, MobileOne, FastViT and similar networks, in place.

    Such networks train with several branches per block, whose sum is a single convolution. Merged
    networks give the same outputs, run faster and are the only ones that quantize well. Other
    networks are unchanged, and so are modules without timm's methods, in which a method `fuse` may
    mean anything. See Ding et al. 2021, "RepVGG: Making VGG-style ConvNets Great Again"
    (arXiv 2101.03697).
    """
    classifier.eval()
    if not isinstance(classifier.network, CutNetwork):
        reparameterize_model(classifier.network, inplace=True)
    return classifier


def parameters_of(module: nn.Module) -> int:
    """The number of trainable values in `module`."""
    return sum(parameter.numel() for parameter in module.parameters())
