"""Students and visual teachers: a timm network behind its normalisation."""

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


class Network(nn.Module):
    """A timm backbone that returns its logits and the features its last layer sees."""

    def __init__(self, backbone: nn.Module) -> None:
        super().__init__()
        self.backbone = backbone

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Normalised images [N, 3, H, W] to logits [N, C] and features [N, D]."""
        maps = self.backbone.forward_features(images)  # type: ignore[operator]
        features = self.backbone.forward_head(maps, pre_logits=True)  # type: ignore[operator]
        return self.backbone.get_classifier()(features), features  # type: ignore[operator]


class Classifier(nn.Module):
    """A network behind its normalisation.

    `scale` and `offset` are 1/std and -mean/std, so that normalisation is one multiplication and
    one addition and the exporter can take 1/255 into the scale. They hold one value for each
    channel, [1, 3, 1, 1], or one for all, [1, 1, 1, 1], which runtimes compute many times faster.
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
    model: str, classes: int, arguments: Mapping[str, Any], image_size: int, *, scratch: bool
) -> tuple[Classifier, int]:
    """A timm `model` with random weights and the width D of its features.

    Weights from elsewhere expect the mean and deviation that timm names for the model. A model
    trained from `scratch` takes 128/255 for both: pixels then become (pixel - 128) / 128, one value
    for all channels.

    Raises:
        RequestError: timm knows no such model or refuses the arguments.
    """
    known = timm.list_models()
    if model.split(".", maxsplit=1)[0] not in known:
        # imported here: only the error needs it
        from tmkd_deploy.suggestions import did_you_mean  # noqa: PLC0415

        raise RequestError(
            f"timm has no model named {model!r}.",
            advice=did_you_mean(model, known) or "List the names with timm.list_models().",
        )
    try:
        backbone = timm.create_model(model, num_classes=classes, **_plain(arguments))
    except (TypeError, ValueError, RuntimeError, AssertionError) as error:
        raise RequestError(
            f"timm could not create {model!r} with the arguments {dict(arguments)}: {error}.",
            advice="Correct the model's arguments in the recipe.",
        ) from error
    network = Network(backbone).eval()
    with torch.inference_mode():
        try:
            _, features = network(torch.zeros(1, 3, image_size, image_size))
        except (RuntimeError, AssertionError, AttributeError, IndexError) as error:
            raise RequestError(
                f"{model!r} cannot read images of {image_size} x {image_size} pixels: {error}.",
                advice="Change data.image_size or the model, or correct its arguments.",
            ) from error
    config = resolve_model_data_config(backbone)
    mean, std = list(config["mean"]), list(config["std"])
    if scratch:
        mean = std = [128 / 255] * 3
    return Classifier(network, mean, std), int(features.shape[1])


def merge_branches(classifier: Classifier) -> Classifier:
    """Merge the parallel branches of RepVGG, MobileOne, FastViT and their like, in place.

    Such networks learn with several branches a block, whose sum is one convolution; merged they
    decide alike and run faster, and only merged can they be quantized well. Other networks stay as
    they are. See Ding et al. 2021, "RepVGG: Making VGG-style ConvNets Great Again".
    """
    reparameterize_model(classifier.eval().network, inplace=True)
    return classifier


def parameters_of(module: nn.Module) -> int:
    """The number of trainable values in `module`."""
    return sum(parameter.numel() for parameter in module.parameters())


def _plain(arguments: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name: tuple(value) if isinstance(value, list) else value
        for name, value in arguments.items()
    }
