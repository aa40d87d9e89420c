"""Students and visual teachers: timm networks with built-in input normalisation."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import timm
import torch
from timm.data import resolve_model_data_config
from timm.utils import reparameterize_model
from torch import Tensor, nn

from tmkd_deploy.errors import RequestError
from tmkd_deploy.models import cifar_resnet  # noqa: F401 - registers its models with timm
from tmkd_deploy.models import model_kwargs as keywords
from tmkd_deploy.records.types import ImageSize, Normalisation, height_and_width
from tmkd_deploy.suggestions import did_you_mean

_SAME_NORMALISATION = 0.05  # of 1, about a tenth of a usual standard deviation


class Network(nn.Module):
    """A timm backbone that returns its logits and the features before its last layer."""

    def __init__(self, backbone: nn.Module) -> None:
        super().__init__()
        self.backbone = backbone

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Normalised images [N, 3, H, W] to logits [N, C] and features [N, D]."""
        maps = self.backbone.forward_features(images)  # type: ignore[operator]
        features = self.backbone.forward_head(maps, pre_logits=True)  # type: ignore[operator]
        return self.backbone.get_classifier()(features), features  # type: ignore[operator]


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
    """A timm `model` with random weights, and the width D of its features.

    It normalises with `normalisation`. By default, that is what pretrained weights expect: the mean
    and standard deviation that timm lists for the model. With `scratch` both are 128/255, so that
    pixels become (pixel - 128) / 128 in every channel.

    Raises:
        RequestError: timm does not know the model, our list or timm refuses `model_kwargs`, or
            the model does not accept images of `image_size`.
    """
    keywords.check(model_kwargs)
    known = timm.list_models()
    if model.split(".", maxsplit=1)[0] not in known:
        raise RequestError(
            f"timm has no model named {model!r}.",
            advice=did_you_mean(model, known) or "timm.list_models() lists all names.",
        )
    try:
        backbone = timm.create_model(model, num_classes=classes, **_with_tuples(model_kwargs))
    except (TypeError, ValueError, RuntimeError, AssertionError) as error:
        raise RequestError(
            f"timm could not create {model!r} with {dict(model_kwargs)}: {error}.",
            advice="Correct 'student.model_kwargs' in the recipe.",
        ) from error
    network = Network(backbone).eval()
    height, width = height_and_width(image_size)
    with torch.inference_mode():
        try:
            _, features = network(torch.zeros(1, 3, height, width))
        except (RuntimeError, AssertionError, AttributeError, IndexError) as error:
            raise RequestError(
                f"{model!r} does not accept images of {height} x {width} pixels: {error}.",
                advice="Change 'data.image_size' or the model, or correct its 'model_kwargs'.",
            ) from error
    mean, std = normalisation or _listed(backbone)
    if scratch and not normalisation:
        mean = std = [128 / 255] * 3
    return Classifier(network, mean, std), int(features.shape[1])


def other_normalisation(classifier: Classifier, own: Normalisation, weights: str) -> str | None:
    """A warning if `weights` were trained with another normalisation than `own`."""
    if weights == "none" or not isinstance(classifier.network, Network):
        return None
    listed = _listed(classifier.network.backbone)
    pairs = zip(own[0] + own[1], listed[0] + listed[1], strict=True)
    if max(abs(mine - theirs) for mine, theirs in pairs) <= _SAME_NORMALISATION:
        return None
    return (
        f"the weights {weights!r} were trained with mean {_shown(listed[0])} and std "
        f"{_shown(listed[1])}, but data.mean and data.std are {_shown(own[0])} and "
        f"{_shown(own[1])}; training has to make up for it."
    )


def _listed(backbone: nn.Module) -> Normalisation:
    """The mean and standard deviation that timm lists for a model's weights."""
    config = resolve_model_data_config(backbone)
    return list(config["mean"]), list(config["std"])


def _shown(values: list[float]) -> str:
    return f"[{', '.join(f'{value:.3g}' for value in values)}]"


def merge_branches(classifier: Classifier) -> Classifier:
    """Merge the parallel branches of RepVGG, MobileOne, FastViT and similar networks, in place.

    Such networks train with several branches per block, whose sum is a single convolution. Merged
    networks give the same outputs, run faster and are the only ones that quantize well. Other
    networks are unchanged. See Ding et al. 2021, "RepVGG: Making VGG-style ConvNets Great Again"
    (arXiv 2101.03697).
    """
    reparameterize_model(classifier.eval().network, inplace=True)
    return classifier


def parameters_of(module: nn.Module) -> int:
    """The number of trainable values in `module`."""
    return sum(parameter.numel() for parameter in module.parameters())


def _with_tuples(model_kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """YAML has lists only; timm expects tuples."""
    return {
        name: tuple(value) if isinstance(value, list) else value
        for name, value in model_kwargs.items()
    }
