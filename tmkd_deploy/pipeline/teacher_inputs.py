"""The stages that a stage which reads both teachers and the student depends on."""

from __future__ import annotations

from tmkd_deploy.pipeline.stage import Ref
from tmkd_deploy.recipe.schema import Recipe


def teacher_inputs(recipe: Recipe) -> dict[str, Ref]:
    """The data and both teachers; nothing scores the views for a given model."""
    inputs = {"data": Ref("prepare"), "teacher": Ref("train_teacher")}
    return inputs if recipe.model_is_given else {**inputs, "view_scores": Ref("score_views")}


def student_inputs(recipe: Recipe) -> dict[str, Ref]:
    """The same, and the student."""
    return {**teacher_inputs(recipe), "student": Ref("distill")}
