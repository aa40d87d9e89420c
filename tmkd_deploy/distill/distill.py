"""The stage that makes the student: TMKD, and the same student trained alone beside it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file

from tmkd_deploy.artifacts import Artifact
from tmkd_deploy.data.prepared import PreparedData
from tmkd_deploy.distill.gallery import keep_gallery, view_weights
from tmkd_deploy.distill.losses.total import StudentLoss
from tmkd_deploy.distill.student import train_student
from tmkd_deploy.distill.teacher_outputs import (
    CachedTeacherOutputs,
    LiveTeacherOutputs,
    TeacherOutputSource,
    cache_teacher_outputs,
)
from tmkd_deploy.distill.train_teacher import Teachers
from tmkd_deploy.events import Events
from tmkd_deploy.models import weights
from tmkd_deploy.models.classifier import Classifier, create, merge_branches, parameters_of
from tmkd_deploy.recipe.schema import Recipe
from tmkd_deploy.records.distillation import StudentRecord
from tmkd_deploy.training.batches import TrainingImages
from tmkd_deploy.training.fit import Schedule, predict, training_device
from tmkd_deploy.training.trainer_config import TrainerConfig

_DISTILLING = "Distilling the student"
_ALONE = "Training the student alone"


@dataclass(frozen=True)
class Student:
    """A trained student and the teacher signals it was trained with."""

    classifier: Classifier
    record: StudentRecord
    folder: Path

    @classmethod
    def of(cls, artifact: Artifact[StudentRecord], recipe: Recipe, data: PreparedData) -> Student:
        """Read the distilled student, its parallel branches merged."""
        student = _read(recipe, data, artifact.path("student.safetensors"))
        return cls(student, artifact.record, artifact.folder)

    def alone(self, recipe: Recipe, data: PreparedData) -> Classifier | None:
        """The same student trained without teachers, where the recipe asked for it."""
        path = self.folder / "alone.safetensors"
        return _read(recipe, data, path) if path.exists() else None

    def teacher_outputs(
        self, recipe: Recipe, data: PreparedData, teachers: Teachers
    ) -> TeacherOutputSource:
        """What the teachers say of the training images: as they said it, or asked anew."""
        if recipe.distill.teacher_outputs == "live":
            return LiveTeacherOutputs(teachers.asking(recipe, data, training_device()))
        return CachedTeacherOutputs(**load_file(self.folder / "signals.safetensors"))

    def loss(self, recipe: Recipe, teachers: Teachers) -> StudentLoss:
        """The loss it was trained with, projections included, to be trained further with."""
        loss = student_loss(recipe, teachers, self.record.feature_width)
        weights.load(loss, self.folder / "loss.safetensors")
        return loss


def distill(
    recipe: Recipe,
    data: PreparedData,
    teachers: Teachers,
    folder: Path,
    events: Events,
    trainer_config: TrainerConfig | None = None,
) -> StudentRecord:
    """Train the student with TMKD and write it into `folder`."""
    teacher_outputs = _signals(recipe, data, teachers, folder, events)
    student, loss = _trained(
        recipe, data, teachers, teacher_outputs, _DISTILLING, events, trainer_config
    )
    weights.save(student, folder / "student.safetensors")
    weights.save(loss, folder / "loss.safetensors")
    top1 = top1_of(student, data)
    alone_top1 = None
    if recipe.distill.baseline:
        alone, _ = _trained(recipe, data, teachers, None, _ALONE, events, trainer_config)
        weights.save(alone, folder / "alone.safetensors")
        alone_top1 = top1_of(alone, data)
        events.say(
            f"The student reaches {100 * top1:.1f} % top-1; trained alone it reaches "
            f"{100 * alone_top1:.1f} %."
        )
    return StudentRecord(
        model=recipe.student.model,
        parameters=parameters_of(merge_branches(student)),
        feature_width=loss.to_teacher.in_features,
        top1=top1,
        alone_top1=alone_top1,
        view_weights=view_weights(recipe, data, teachers),
        view_captions=keep_gallery(recipe, data, teachers, folder),
    )


def _signals(
    recipe: Recipe, data: PreparedData, teachers: Teachers, folder: Path, events: Events
) -> TeacherOutputSource:
    settings = recipe.distill
    device = training_device()
    asking = teachers.asking(recipe, data, device)
    if settings.teacher_outputs == "live":
        return LiveTeacherOutputs(asking)
    cache = cache_teacher_outputs(
        asking,
        data.images("train"),
        settings.augment,
        settings.cached_augmentations,
        device,
        events,
    )
    weights.write_tensors(
        {"logits": cache.logits, "features": cache.features}, folder / "signals.safetensors"
    )
    return cache


def student_loss(recipe: Recipe, teachers: Teachers, student_width: int) -> StudentLoss:
    """The loss with the recipe's constants; its text targets are averaged over the views."""
    texts = torch.nn.functional.normalize(teachers.texts.mean(dim=0), dim=-1)
    return StudentLoss(recipe.distill, student_width, teachers.record.feature_width, texts)


def training_images(recipe: Recipe, data: PreparedData) -> TrainingImages:
    """The training split with the recipe's augmentation."""
    settings = recipe.distill
    labels = torch.from_numpy(data.labels("train"))
    return TrainingImages(
        data.images("train"), labels, settings.augment, settings.cached_augmentations
    )


def _trained(
    recipe: Recipe,
    data: PreparedData,
    teachers: Teachers,
    teacher_outputs: TeacherOutputSource | None,
    description: str,
    events: Events,
    trainer_config: TrainerConfig | None,
) -> tuple[Classifier, StudentLoss]:
    device = training_device()
    torch.manual_seed(recipe.seed)
    student, width = new_student(recipe, data)
    weights.initialise(student, recipe.student.model, recipe.student.weights)
    student.to(device).to(memory_format=torch.channels_last)
    loss = student_loss(recipe, teachers, width).to(device)
    settings = recipe.distill
    schedule = Schedule(
        settings.epochs,
        settings.batch_size,
        settings.learning_rate,
        settings.weight_decay,
        recipe.seed,
        settings.optimizer,
        settings.lr_schedule,
    )
    images = training_images(recipe, data)
    train_student(
        student,
        loss,
        images,
        teacher_outputs,
        schedule,
        device,
        events,
        description,
        trainer_config=trainer_config,
        at_end=lambda: {"top1": top1_of(student, data)},
    )
    return student, loss


def new_student(recipe: Recipe, data: PreparedData) -> tuple[Classifier, int]:
    """The recipe's student with random weights, and the width of its features."""
    return create(
        recipe.student.model,
        len(data.class_names),
        recipe.student.model_kwargs,
        recipe.data.image_size,
        scratch=recipe.student.weights == "none",
    )


def deployed_student(recipe: Recipe, data: PreparedData) -> Classifier:
    """A new student as it is quantized and deployed: the branches it learns with are merged."""
    return merge_branches(new_student(recipe, data)[0])


def _read(recipe: Recipe, data: PreparedData, path: Path) -> Classifier:
    student, _ = new_student(recipe, data)
    weights.load(student, path)
    return merge_branches(student)


def top1_of(student: Classifier, data: PreparedData) -> float:
    """Top-1 on the test split, in [0, 1], of a student on the training device."""
    chosen = predict(student, data.images("test"), training_device()).argmax(dim=1)
    return float((chosen.numpy() == data.labels("test")).mean())
