"""The train_teacher stage, and both teachers as later stages load them."""

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
from tmkd_deploy.distill.candidates import near_chance, validate
from tmkd_deploy.distill.fusion import predicted_classes, semantic_weights, uniform_weights
from tmkd_deploy.distill.given_model import given_teacher
from tmkd_deploy.distill.losses.labels import class_weights
from tmkd_deploy.distill.new_models import new_visual
from tmkd_deploy.distill.teacher_outputs import FusedTeacher
from tmkd_deploy.events import Events
from tmkd_deploy.models import weights
from tmkd_deploy.models.classifier import (
    Classifier,
    merge_branches,
    other_normalisation,
    parameters_of,
)
from tmkd_deploy.recipe.schema import Recipe
from tmkd_deploy.records.distillation import TeacherRecord, TextTeacherRecord
from tmkd_deploy.records.fusion import Fusion
from tmkd_deploy.records.training import TrainingCurve, origin
from tmkd_deploy.records.types import VIEWS
from tmkd_deploy.training.batches import TrainingImages
from tmkd_deploy.training.best_epoch import Validation
from tmkd_deploy.training.distributed import training_device
from tmkd_deploy.training.schedule import Schedule
from tmkd_deploy.training.trainer_config import TrainerConfig

TEXT_SCORES = "text.safetensors"
VISUAL_WEIGHTS = "visual.safetensors"


@dataclass(frozen=True)
class Teachers:
    """Both teachers of a run.

    `record` is the visual teacher's. `texts` [V, C, d] are the class embeddings of each view, and
    `scores` the text teacher's scores [N, V, C] by split; `logit_scale` times these are its logits,
    None if it has none. A given model has no text teacher: its texts are zeros, which no term of
    its loss reads.
    """

    visual: Classifier
    record: TeacherRecord
    texts: Tensor
    scores: dict[str, Tensor]
    logit_scale: float | None = None

    @classmethod
    def load(
        cls,
        trained: Artifact[TeacherRecord],
        view_scores: Artifact[TextTeacherRecord] | None,
        recipe: Recipe,
        data: PreparedData,
    ) -> Teachers:
        """Load both teachers from the artifacts of their stages; a given model has no scores."""
        visual = read_visual(trained, recipe, data)
        if view_scores is None:
            return cls(visual, trained.record, torch.zeros(1, len(data.class_names), 1), {})
        scores = load_file(view_scores.path(TEXT_SCORES))
        texts = scores.pop("texts")
        return cls(visual, trained.record, texts, scores, view_scores.record.logit_scale)

    @property
    def given(self) -> bool:
        """Whether the visual teacher is the given student itself."""
        return self.record.given

    def view_weights(
        self, recipe: Recipe, fusion: Fusion, split: Split, labels: np.ndarray
    ) -> Tensor:
        """Weights [N, V'] of the views that the recipe distils from, for labels [N]."""
        views = recipe.distill.views
        if fusion.guided_by == "nothing":
            return uniform_weights(len(labels), len(views))
        if fusion.guided_by == "validation":
            return torch.tensor([fusion.view_weights[view] for view in views]).repeat(
                len(labels), 1
            )
        scores = self.scores[split][:, [VIEWS.index(view) for view in views]]
        by_label = fusion.guided_by == "label"
        classes = torch.from_numpy(labels) if by_label else predicted_classes(scores)
        return semantic_weights(scores, classes, recipe.distill.weight_temperature)

    def text_logits(self, split: Split) -> Tensor | None:
        """The text teacher's logits [N, C] of the images themselves, the view rgb."""
        if self.logit_scale is None:
            return None
        return self.logit_scale * self.scores[split][:, VIEWS.index("rgb")]

    def fused(
        self,
        recipe: Recipe,
        fusion: Fusion,
        data: PreparedData,
        device: torch.device,
        split: Split = "train",
    ) -> FusedTeacher:
        """The visual teacher on `device`, fused as `fusion` says for the images of a split."""
        return FusedTeacher(
            self.visual.to(device).to(memory_format=torch.channels_last).eval(),
            recipe.views,
            recipe.distill.views,
            self.view_weights(recipe, fusion, split, data.labels(split)),
            fusion.softness,
            self.text_logits(split) if fusion.text_share else None,
            fusion.text_share,
            TrainerConfig(recipe.training.precision).dtype(device),
        )


def read_visual(
    artifact: Artifact[TeacherRecord], recipe: Recipe, data: PreparedData
) -> Classifier:
    """Load the visual teacher with its parallel branches merged."""
    visual, _ = new_visual(recipe, data)
    weights.load(visual, artifact.path(VISUAL_WEIGHTS))
    return merge_branches(visual)


def train_teacher(
    recipe: Recipe,
    data: PreparedData,
    folder: Path,
    events: Events,
    trainer_config: TrainerConfig | None = None,
) -> TeacherRecord:
    """Fine-tune the visual teacher on the training split and write it into `folder`."""
    if recipe.model_is_given:
        return given_teacher(recipe, data, folder / VISUAL_WEIGHTS, events)
    device = training_device()
    torch.manual_seed(recipe.seed)
    visual, width = new_visual(recipe, data)
    settings = recipe.teacher.visual
    chosen = weights.initialise(visual, settings.model, settings.weights)
    warn_of_normalisation("teacher.visual", visual, chosen, data, events)
    loaded = weights.recorded_name(chosen)
    new_head = weights.new_head(visual)
    events.say(
        f"The visual teacher starts from {'; '.join(filter(None, (origin(loaded), new_head)))}."
    )
    visual.to(device).to(memory_format=torch.channels_last)
    if settings.epochs and loaded != "none" and new_head is None:
        _try_weights(visual, data, events)
    curve = _fine_tune(visual, recipe, data, device, events, trainer_config)
    weights.save(visual, folder / VISUAL_WEIGHTS)
    top1 = visual_teacher.top1_by_view(
        visual, data.images("val"), data.labels("val"), recipe.views, device, events
    )
    events.say(f"The visual teacher's top-1 by view: {visual_teacher.percentages(top1)}.")
    rgb = validate(visual, data, "the visual teacher")
    return TeacherRecord(
        visual_model=settings.model,
        visual_parameters=parameters_of(merge_branches(visual)),
        feature_width=width,
        top1_by_view=top1,
        weakness=near_chance("The teacher", rgb),
        curve=curve,
        weights=loaded,
    )


def _try_weights(visual: Classifier, data: PreparedData, events: Events) -> None:
    """Say how weights whose last layer fits decide on the user's own labels, before training."""
    found = validate(visual, data, "the visual teacher")
    if weakness := near_chance("The teacher", found, "before it is trained"):
        events.warn(
            f"{weakness} If its weights were trained on these classes, their order or the "
            "normalisation differs."
        )
    else:
        events.say(f"Before training, the teacher's top-1 is {100 * found.candidate.top1:.1f} %.")


def _fine_tune(
    visual: Classifier,
    recipe: Recipe,
    data: PreparedData,
    device: torch.device,
    events: Events,
    trainer_config: TrainerConfig | None,
) -> TrainingCurve | None:
    """Fine-tune on one random view of each image; None if the recipe sets no epochs."""
    settings = recipe.teacher.visual
    if settings.epochs == 0:
        return None
    schedule = Schedule(
        epochs=settings.epochs,
        batch_size=settings.batch_size,
        learning_rate=settings.learning_rate,
        weight_decay=settings.weight_decay,
        seed=recipe.seed,
    )
    labels = torch.from_numpy(data.labels("train"))
    images = TrainingImages(
        data.images("train"),
        labels,
        recipe.distill.augment,
        max_augmentations=8,
        augmentations=settings.augmentations,
    ).on(device)
    return visual_teacher.fine_tune(
        visual,
        images,
        recipe.views,
        schedule,
        device,
        events,
        trainer_config=trainer_config,
        validation=Validation(visual, data.images("val"), data.labels("val"), settings),
        class_weights=class_weights(settings.class_weights, labels, len(data.class_names)),
    )


def warn_of_normalisation(
    key: str, classifier: Classifier, initial: str, data: PreparedData, events: Events
) -> None:
    """Warn if the data's own mean and standard deviation do not suit the initial weights."""
    own = data.record.normalisation
    if own and (problem := other_normalisation(classifier, own, initial)):
        events.warn(f"{key}: {problem}")
