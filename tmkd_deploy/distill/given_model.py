"""A model that needs no distillation: its weights are taken as they are, and it is its own teacher.

It passes through the stages train_teacher and distill unchanged, so that every later stage finds
there what it finds after a distillation.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np

from tmkd_deploy.data.prepared import PreparedData
from tmkd_deploy.distill.candidates import near_chance, validate
from tmkd_deploy.distill.new_models import new_student
from tmkd_deploy.errors import RequestError
from tmkd_deploy.events import Events
from tmkd_deploy.models import weights
from tmkd_deploy.models.classifier import Classifier, merge_branches, parameters_of
from tmkd_deploy.models.interface import ModelSpec
from tmkd_deploy.models.onnx_files import agreement
from tmkd_deploy.recipe.schema import Recipe
from tmkd_deploy.records.distillation import StudentRecord, TeacherRecord
from tmkd_deploy.records.training import origin
from tmkd_deploy.records.types import height_and_width

_COMPARED = 64  # images on which a converted model is compared with its file


def refuse_new_head(new_head: str | None) -> None:
    """Refuse weights that leave the last layer with random values.

    Raises:
        RequestError: `new_head` says that they do.
    """
    if new_head is not None:
        raise RequestError(
            f"The given model has not been trained on these classes: {new_head}.",
            where="student.weights",
            advice="Give the weights of a model of these classes, or set `distill.epochs` to train "
            "it.",
        )


def given_teacher(recipe: Recipe, data: PreparedData, file: Path, events: Events) -> TeacherRecord:
    """Write the given student's weights into `file`, and try them on the validation split.

    Raises:
        RequestError: the last layer is not for the classes of the data.
        DataError: the weights cannot be read or belong to another model.
    """
    model, width = new_student(recipe, data)
    settings = recipe.student
    loaded = weights.recorded_name(weights.initialise(model, settings.model, settings.weights))
    refuse_new_head(weights.new_head(model))
    if settings.is_onnx_file:
        events.say(_agreement(recipe, data, model))
    weights.save(model, file)
    found = validate(model, data, "the given model")
    top1, images = found.candidate.top1, len(data.labels("val"))
    events.say(
        f"The given model has {origin(loaded)}; its top-1 is {100 * top1:.1f} % on {images} "
        "validation images."
    )
    return TeacherRecord(
        visual_model=settings.shown_model,
        visual_parameters=parameters_of(merge_branches(model)),
        feature_width=width,
        top1_by_view={"rgb": top1},
        weakness=near_chance("The given model", found),
        weights=loaded,
        given=True,
    )


def _agreement(recipe: Recipe, data: PreparedData, model: Classifier) -> str:
    """A sentence on how the converted model agrees with its ONNX file on validation images."""
    settings, size = recipe.student, height_and_width(recipe.data.image_size)
    spec = ModelSpec(settings.model, len(data.class_names), *size, settings.model_kwargs)
    return agreement(spec, model.eval(), np.asarray(data.images("val")[:_COMPARED]))


def given_student(
    recipe: Recipe, data: PreparedData, teacher: TeacherRecord, source: Path, file: Path
) -> StudentRecord:
    """Hand on the weights that `given_teacher` wrote into `source`."""
    model, _ = new_student(recipe, data)
    weights.load(model, source)
    shutil.copyfile(source, file)
    found = validate(model, data, "the given model")
    return StudentRecord(
        model=teacher.visual_model,
        parameters=teacher.visual_parameters,
        feature_width=teacher.feature_width,
        candidates={"given": found.candidate},
        ships="given",
        choice=f"The given model has {origin(teacher.weights or 'model')}; nothing was distilled "
        "(`distill.epochs` is 0).",
        weights=teacher.weights,
    )
