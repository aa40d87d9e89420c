"""timm's models, by their plain names."""

from __future__ import annotations

import timm
import torch
from timm.data import resolve_model_data_config
from torch import Tensor

from tmkd_deploy.models import (
    cifar_resnet,  # noqa: F401 - registers its models with timm
    pretrained,
)
from tmkd_deploy.models.interface import Built, ModelSpec


class TimmModels:
    """`resnet18`, or with a tag of its weights `resnet18.a1_in1k`."""

    name = "timm"
    brings_weights = False

    def names(self) -> list[str]:
        """All names without their tags."""
        return list(timm.list_models())

    def build(self, spec: ModelSpec) -> Built:
        """The model with random weights; lists among the keywords become tuples."""
        keywords = {
            name: tuple(value) if isinstance(value, list) else value
            for name, value in spec.model_kwargs.items()
        }
        module = timm.create_model(spec.model, num_classes=spec.classes, **keywords)
        config = resolve_model_data_config(module)
        return Built(
            module, (list(config["mean"]), list(config["std"])), int(config["input_size"][-1])
        )

    def has_pretrained(self, model: str) -> bool:
        """Whether timm lists weights for it."""
        return pretrained.has_pretrained(model)

    def pretrained_state(self, model: str) -> dict[str, Tensor]:
        """What timm publishes, from the hub or its cache."""
        return pretrained.pretrained_state(model)

    def pretrained_shapes(self, model: str) -> dict[str, Tensor]:
        """The shapes of what timm publishes."""
        with torch.device("meta"):
            return dict(timm.create_model(model).state_dict())
