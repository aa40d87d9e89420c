"""The stage that makes the visual teacher, and what both teachers tell the later stages."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor

from tmkd_deploy.artifacts import Artifact
from tmkd_deploy.data.prepared import PreparedData, Split
from tmkd_deploy.distill import visual_teacher
from tmkd_deploy.distill.fusion import even_weights, seen_classes, semantic_weights
from tmkd_deploy.distill.teacher_outputs import Asking
from tmkd_deploy.events import Events
from tmkd_deploy.models import weights
from tmkd_deploy.models.classifier import Classifier, create, merge_branches, parameters_of
from tmkd_deploy.recipe.schema import Recipe
from tmkd_deploy.records.distillation import TeacherRecord, TextTeacherRecord
from tmkd_deploy.records.types import VIEWS
from tmkd_deploy.training.batches import TrainingImages
from tmkd_deploy.training.fit import Schedule, training_device
from tmkd_deploy.training.trainer_config import TrainerConfig


@dataclass(frozen=True)
class Teachers:
    """The teachers of a run, read back from their artifacts; `facts` are the visual one's."""

    visual: Classifier
    record: TeacherRecord
    texts: Tensor
    scores: dict[str, Tensor]

    @classmethod
    def of(
        cls,
        taught: Artifact[TeacherRecord],
        view_scores: Artifact[TextTeacherRecord],
        recipe: Recipe,
        data: PreparedData,
    ) -> Teachers:
        """Read teachers: texts [V, C, d]; scores by split [N, V, C]."""
        text = load_file(view_scores.path("text.safetensors"))
        texts = text.pop("texts")
        return cls(read_visual(taught, recipe, data), taught.record, texts, text)

    def view_weights(self, recipe: Recipe, split: Split, labels: np.ndarray) -> Tensor:
        """The weight [N, V'] of each view that the recipe's distillation uses."""
        settings = recipe.distill
        if not settings.text_weights:
            return even_weights(len(labels), len(settings.views))
        scores = self.scores[split][:, [VIEWS.index(view) for view in settings.views]]
        by_label = settings.weights_guided_by == "label"
        classes = torch.from_numpy(labels) if by_label else seen_classes(scores)
        return semantic_weights(scores, classes, settings.weight_temperature)

    def asking(self, recipe: Recipe, data: PreparedData, device: torch.device) -> Asking:
        """The visual teacher, ready to be asked about training images on `device`."""
        return Asking(
            self.visual.to(device).to(memory_format=torch.channels_last).eval(),
            recipe.views,
            recipe.distill.views,
            self.view_weights(recipe, "train", data.labels("train")),
        )


def read_visual(
    artifact: Artifact[TeacherRecord], recipe: Recipe, data: PreparedData
) -> Classifier:
    """The visual teacher, read back, its parallel branches merged."""
    visual, _ = _new_visual(recipe, data)
    weights.load(visual, artifact.path("visual.safetensors"))
    return merge_branches(visual)


def train_teacher(
    recipe: Recipe,
    data: PreparedData,
    folder: Path,
    events: Events,
    trainer_config: TrainerConfig | None = None,
) -> TeacherRecord:
    """Fine-tune the visual teacher on the training split and write it into `folder`."""
    device = training_device()
    torch.manual_seed(recipe.seed)
    visual, width = _visual(recipe, data, device, events, trainer_config)
    weights.save(visual, folder / "visual.safetensors")
    top1 = visual_teacher.top1_by_view(
        visual, data.images("test"), data.labels("test"), recipe.views, device, events
    )
    shown = ", ".join(f"{view} {100 * share:.1f} %" for view, share in top1.items())
    events.say(f"The visual teacher's top-1 by view is {shown}.")
    return TeacherRecord(
        visual_model=recipe.teacher.visual.model,
        visual_parameters=parameters_of(merge_branches(visual)),
        feature_width=width,
        top1_by_view=top1,
    )


def _visual(
    recipe: Recipe,
    data: PreparedData,
    device: torch.device,
    events: Events,
    trainer_config: TrainerConfig | None,
) -> tuple[Classifier, int]:
    """The visual teacher, fine-tuned with one random view per image so that it reads them all."""
    settings = recipe.teacher.visual
    visual, width = _new_visual(recipe, data)
    weights.initialise(visual, settings.model, settings.weights)
    visual.to(device).to(memory_format=torch.channels_last)
    if settings.epochs == 0:
        return visual, width
    schedule = Schedule(
        settings.epochs,
        settings.batch_size,
        settings.learning_rate,
        settings.weight_decay,
        recipe.seed,
    )
    images = TrainingImages(
        data.images("train"), torch.from_numpy(data.labels("train")), recipe.distill.augment, 8
    )
    visual_teacher.fine_tune(
        visual, images, recipe.views, schedule, device, events, trainer_config=trainer_config
    )
    return visual, width


def _new_visual(recipe: Recipe, data: PreparedData) -> tuple[Classifier, int]:
    settings = recipe.teacher.visual
    return create(
        settings.model,
        len(data.class_names),
        {},
        recipe.data.image_size,
        scratch=settings.weights == "none",
    )
