"""The distill stage: the student by TMKD and, for comparison, the same student without teachers."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

from tmkd_deploy.artifacts import Artifact
from tmkd_deploy.data.prepared import PreparedData
from tmkd_deploy.distill.candidates import (
    Step,
    Validated,
    gain_over,
    near_chance,
    validate,
    weak_teacher,
    without_lead,
)
from tmkd_deploy.distill.decide_fusion import fusion_of, stated_fusion, validate_fused
from tmkd_deploy.distill.gallery import summarise_view_weights, write_gallery
from tmkd_deploy.distill.given_model import given_student
from tmkd_deploy.distill.losses.labels import class_weights
from tmkd_deploy.distill.losses.total import StudentLoss
from tmkd_deploy.distill.new_models import new_student
from tmkd_deploy.distill.student import train_student
from tmkd_deploy.distill.teacher_outputs import (
    CachedTeacherOutputs,
    LiveTeacherOutputs,
    TeacherOutputSource,
    cache_teacher_outputs,
)
from tmkd_deploy.distill.train_teacher import VISUAL_WEIGHTS, Teachers
from tmkd_deploy.events import Events
from tmkd_deploy.models import weights
from tmkd_deploy.models.classifier import Classifier, merge_branches, parameters_of
from tmkd_deploy.recipe.schema import Recipe
from tmkd_deploy.records.distillation import StudentName, StudentRecord, TeacherRecord
from tmkd_deploy.records.fusion import Fusion
from tmkd_deploy.records.training import TrainingCurve
from tmkd_deploy.training.batches import TrainingImages
from tmkd_deploy.training.best_epoch import Validation
from tmkd_deploy.training.distributed import training_device
from tmkd_deploy.training.schedule import Schedule
from tmkd_deploy.training.trainer_config import TrainerConfig

_DISTILLATION: Step[StudentName] = Step("Distillation", "baseline", "distilled", "distill.ship")
_ALONE = (
    "The distilled student ships; no student was trained without teachers to compare it with "
    "(`distill.baseline`)."
)
_DISTILLING = "Distilling the student"
_BASELINE = "Training the baseline student"
_LOSS_WEIGHTS = "loss.safetensors"
_TEACHER_OUTPUTS = "teacher_outputs.safetensors"


@dataclass(frozen=True)
class Student:
    """The student that ships, with the loss and teacher outputs it was trained on."""

    classifier: Classifier
    record: StudentRecord
    folder: Path

    @classmethod
    def load(cls, artifact: Artifact[StudentRecord], recipe: Recipe, data: PreparedData) -> Student:
        """Load the student with its parallel branches merged."""
        student = _load(recipe, data, artifact.path(_weights_of(artifact.record.ships)))
        return cls(student, artifact.record, artifact.folder)

    def other(self, recipe: Recipe, data: PreparedData) -> Classifier | None:
        """The candidate that does not ship; None unless `distill.baseline` is set."""
        names = [name for name in self.record.candidates if name != self.record.ships]
        return _load(recipe, data, self.folder / _weights_of(names[0])) if names else None

    def teacher_outputs(
        self, recipe: Recipe, data: PreparedData, teachers: Teachers
    ) -> TeacherOutputSource | None:
        """The teachers' outputs on the training images: cached ones, or a live forward pass.

        None for the baseline: a student that is better without teachers goes on without them.
        """
        if self.record.ships == "baseline":
            return None
        if recipe.distill.teacher_outputs == "live":
            fusion = self.record.fusion or stated_fusion(recipe.distill)
            return LiveTeacherOutputs(teachers.fused(recipe, fusion, data, training_device()))
        outputs = CachedTeacherOutputs(**load_file(self.folder / _TEACHER_OUTPUTS))
        return outputs.on(training_device())

    def loss(self, recipe: Recipe, data: PreparedData, teachers: Teachers) -> StudentLoss:
        """The loss it was trained with, projections included, for further fine-tuning.

        A given student had none, and its terms need no projections.
        """
        loss = student_loss(recipe, data, teachers, self.record.feature_width)
        if self.record.ships != "given":
            weights.load(loss, self.folder / _LOSS_WEIGHTS)
        return loss


def distill(
    recipe: Recipe,
    data: PreparedData,
    teachers: Teachers,
    folder: Path,
    events: Events,
    trainer_config: TrainerConfig | None = None,
) -> StudentRecord:
    """Train the student with TMKD, and the baseline if wanted, and choose the one that ships.

    Both are written into `folder`.

    Raises:
        LogitsError: the logits of a model are not finite.
    """
    fusion = fusion_of(recipe, data, teachers, events)
    teacher_outputs = _teacher_outputs(recipe, data, teachers, fusion, folder, events)
    student, width, loaded = _initialised(recipe, data, recipe.student.weights)
    if new_head := weights.new_head(student):
        events.say(f"Of the student's weights, {new_head}.")
    loss = student_loss(recipe, data, teachers, width)
    curve = _train(
        student, loss, recipe, data, teacher_outputs, _DISTILLING, events, trainer_config
    )
    curves: dict[StudentName, TrainingCurve | None] = {"distilled": curve}
    weights.save(student, folder / _weights_of("distilled"))
    weights.save(loss, folder / _LOSS_WEIGHTS)
    distilled, baseline = validate(student, data, "the distilled student"), None
    if recipe.distill.baseline:
        alone, *_ = _initialised(recipe, data, loaded)
        by_label = student_loss(recipe, data, teachers, width)
        curves["baseline"] = _train(
            alone, by_label, recipe, data, None, _BASELINE, events, trainer_config
        )
        weights.save(alone, folder / _weights_of("baseline"))
        baseline = validate(alone, data, "the baseline student")
    record = StudentRecord(
        model=recipe.student.shown_model,
        parameters=parameters_of(merge_branches(student)),
        feature_width=loss.to_teacher.in_features,
        **_compared(
            recipe, distilled, baseline, validate_fused(recipe, data, teachers, fusion, events)
        ),
        view_weights=summarise_view_weights(recipe, data, teachers, fusion),
        view_captions=write_gallery(recipe, data, teachers, fusion, folder),
        curves={name: curve for name, curve in curves.items() if curve is not None},
        weights=weights.recorded_name(loaded),
        fusion=fusion,
    )
    events.say(record.choice)
    for warning in record.warnings:
        events.warn(warning)
    return record


def hand_on(
    recipe: Recipe, data: PreparedData, teacher: Artifact[TeacherRecord], folder: Path
) -> StudentRecord:
    """The given student as it is, where nothing is distilled."""
    file = folder / _weights_of("given")
    return given_student(recipe, data, teacher.record, teacher.path(VISUAL_WEIGHTS), file)


def _compared(
    recipe: Recipe, distilled: Validated, baseline: Validated | None, teacher: Validated
) -> dict[str, Any]:
    """The fields of `StudentRecord` on which student ships and what is wrong with it."""
    if baseline is None:
        ships: StudentName = "distilled"
        fields: dict[str, Any] = {"candidates": {ships: distilled.candidate}, "choice": _ALONE}
    else:
        gain, teacher_gain = gain_over(baseline, distilled), gain_over(baseline, teacher)
        ships, choice = _DISTILLATION.choose(gain, recipe.distill.ship)
        fields = {
            "candidates": {"distilled": distilled.candidate, "baseline": baseline.candidate},
            "choice": " ".join(
                filter(None, (choice, without_lead(teacher, baseline, teacher_gain)))
            ),
            "gain": gain,
            "teacher_gain": teacher_gain,
            "weak_teacher": weak_teacher(teacher, baseline, teacher_gain),
        }
    shipped = baseline if baseline and ships == "baseline" else distilled
    warning = near_chance("The student", shipped)
    return {**fields, "ships": ships, "warnings": [warning] if warning else []}


def _teacher_outputs(
    recipe: Recipe,
    data: PreparedData,
    teachers: Teachers,
    fusion: Fusion,
    folder: Path,
    events: Events,
) -> TeacherOutputSource:
    settings = recipe.distill
    device = training_device()
    fused = teachers.fused(recipe, fusion, data, device)
    if settings.teacher_outputs == "live":
        return LiveTeacherOutputs(fused)
    cache = cache_teacher_outputs(
        fused,
        data.images("train"),
        settings.augment,
        settings.cached_augmentations,
        device,
        events,
    )
    weights.write_tensors(
        {"logits": cache.logits, "features": cache.features}, folder / _TEACHER_OUTPUTS
    )
    return cache.on(device)


def student_loss(
    recipe: Recipe, data: PreparedData, teachers: Teachers, student_width: int
) -> StudentLoss:
    """The loss with the recipe's constants; its text targets are the mean over the views."""
    texts = torch.nn.functional.normalize(teachers.texts.mean(dim=0), dim=-1)
    labels, classes = torch.from_numpy(data.labels("train")), len(data.class_names)
    by_class = class_weights(recipe.distill.class_weights, labels, classes)
    width = teachers.record.feature_width
    return StudentLoss(recipe.distill, student_width, width, texts, by_class)


def training_images(recipe: Recipe, data: PreparedData) -> TrainingImages:
    """The training split with the recipe's augmentation."""
    settings = recipe.distill
    labels = torch.from_numpy(data.labels("train"))
    return TrainingImages(
        data.images("train"),
        labels,
        settings.augment,
        settings.cached_augmentations,
        settings.augmentations,
        settings.mix,
        settings.mix_alpha,
    ).on(training_device())


def _initialised(recipe: Recipe, data: PreparedData, start: str) -> tuple[Classifier, int, str]:
    """A new student, the width of its features, and what `start` stands for if it is "auto"."""
    torch.manual_seed(recipe.seed)
    student, width = new_student(recipe, data)
    return student, width, weights.initialise(student, recipe.student.model, start)


def _train(
    student: Classifier,
    loss: StudentLoss,
    recipe: Recipe,
    data: PreparedData,
    teacher_outputs: TeacherOutputSource | None,
    description: str,
    events: Events,
    trainer_config: TrainerConfig | None,
) -> TrainingCurve | None:
    device = training_device()
    student.to(device).to(memory_format=torch.channels_last)
    loss.to(device)
    settings = recipe.distill
    schedule = Schedule(
        epochs=settings.epochs,
        batch_size=settings.batch_size,
        learning_rate=settings.learning_rate,
        weight_decay=settings.weight_decay,
        seed=recipe.seed,
        optimizer=settings.optimizer,
        lr_schedule=settings.lr_schedule,
    )
    images = training_images(recipe, data)
    return train_student(
        student,
        loss,
        images,
        teacher_outputs,
        schedule,
        device,
        events,
        description,
        trainer_config=trainer_config,
        final_metrics=lambda: {"top1": validate(student, data, "the student").candidate.top1},
        validation=Validation(student, data.images("val"), data.labels("val"), settings),
    )


def deployed_student(recipe: Recipe, data: PreparedData) -> Classifier:
    """A new student in its deployed form: its training-time branches are merged."""
    return merge_branches(new_student(recipe, data)[0])


def _weights_of(name: StudentName) -> str:
    return f"{name}.safetensors"


def _load(recipe: Recipe, data: PreparedData, path: Path) -> Classifier:
    student, _ = new_student(recipe, data)
    weights.load(student, path)
    return merge_branches(student)
