"""Building a recipe's models on torch's meta device, which has shapes but no values."""

from __future__ import annotations

import torch

from tmkd_deploy.distill.given_model import refuse_new_head
from tmkd_deploy.errors import RequestError
from tmkd_deploy.models import weights
from tmkd_deploy.models.classifier import (
    Classifier,
    create,
    merge_branches,
    other_normalisation,
    parameters_of,
)
from tmkd_deploy.models.network import Network
from tmkd_deploy.quantize.insert import insert_quantizers
from tmkd_deploy.recipe.schema import Data, Student, VisualTeacher
from tmkd_deploy.records.types import ImageSize


def create_empty(
    section: Student | VisualTeacher, classes: int, image_size: ImageSize
) -> Classifier | None:
    """The model of a section for images of `image_size`.

    None for the few models that compute with values while they are built.

    Raises:
        RequestError: there is no such model, or it refuses its keywords or the size.
    """
    model_kwargs = section.model_kwargs if isinstance(section, Student) else {}
    try:
        with torch.device("meta"):
            return create(section.model, classes, model_kwargs, image_size, scratch=True)[0]
    except RequestError as error:
        if "meta" in str(error.__cause__):
            return None
        raise


def fit(section: Student | VisualTeacher, classifier: Classifier, *, given: bool) -> None:
    """Refuse weights of another model, as `models.weights.check_fit` does.

    Those of a `given` model must also fit its last layer.
    """
    new_head = weights.check_fit(classifier, section.model, section.weights)
    if given:
        refuse_new_head(new_head)


def described(section: Student | VisualTeacher, classifier: Classifier) -> str:
    """The model, its size and its weights."""
    millions = parameters_of(classifier) / 1e6
    side = classifier.network.side if isinstance(classifier.network, Network) else None
    published = section.weights in ("auto", "pretrained") and side
    trained = f", published for {side} px" if published else ""
    return f"{section.model}, {millions:.2f} M parameters, weights: {section.weights}{trained}"


def normalisation(
    section: Student | VisualTeacher, classifier: Classifier, data: Data
) -> str | None:
    """A warning if the recipe's mean and standard deviation do not suit the section's weights.

    None also where they are still to be computed.
    """
    mean, std = data.mean, data.std
    if not isinstance(mean, list) or not isinstance(std, list):
        return None
    return other_normalisation(classifier, (mean, std), section.weights)


def quantize(classifier: Classifier, exclude_layers: list[str]) -> None:
    """Insert quantizers into a student, in place.

    Raises:
        RequestError: it cannot be quantized, or it lacks a layer of `exclude_layers`.
    """
    with torch.device("meta"):
        insert_quantizers(merge_branches(classifier), exclude_layers)
