"""Students and visual teachers as the recipe names them, with their initial weights."""

from __future__ import annotations

from tmkd_deploy.data.prepared import PreparedData
from tmkd_deploy.models.classifier import Classifier, create
from tmkd_deploy.recipe.schema import Recipe


def new_student(recipe: Recipe, data: PreparedData) -> tuple[Classifier, int]:
    """The recipe's student with random weights, and the width of its features."""
    return create(
        recipe.student.model,
        len(data.class_names),
        recipe.student.model_kwargs,
        recipe.data.image_size,
        scratch=recipe.student.weights == "none",
        normalisation=data.record.normalisation,
    )


def new_visual(recipe: Recipe, data: PreparedData) -> tuple[Classifier, int]:
    """The visual teacher with random weights, and the width of its features.

    A given student is its own teacher.
    """
    if recipe.model_is_given:
        return new_student(recipe, data)
    settings = recipe.teacher.visual
    return create(
        settings.model,
        len(data.class_names),
        {},
        recipe.data.image_size,
        scratch=settings.weights == "none",
        normalisation=data.record.normalisation,
    )
