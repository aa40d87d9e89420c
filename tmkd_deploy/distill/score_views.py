"""The score_views stage: the text teacher scores every view of every image once."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from tmkd_deploy.data.prepared import PreparedData
from tmkd_deploy.distill import text_teacher
from tmkd_deploy.distill.projection import fit_projection, projected_scores
from tmkd_deploy.distill.text_embeddings import read_embeddings
from tmkd_deploy.distill.train_teacher import TEXT_SCORES
from tmkd_deploy.distill.visual_teacher import features_by_view, percentages
from tmkd_deploy.errors import DataError
from tmkd_deploy.events import Events
from tmkd_deploy.models import weights
from tmkd_deploy.models.classifier import Classifier
from tmkd_deploy.recipe.schema import Recipe
from tmkd_deploy.records.distillation import TextTeacherRecord
from tmkd_deploy.records.types import VIEWS
from tmkd_deploy.training.distributed import training_device
from tmkd_deploy.training.schedule import Schedule
from tmkd_deploy.training.trainer_config import TrainerConfig


def score_views(
    recipe: Recipe,
    data: PreparedData,
    visual: Classifier | None,
    folder: Path,
    events: Events,
    trainer_config: TrainerConfig | None = None,
) -> TextTeacherRecord:
    """Write the text teacher's embeddings [V, C, d] and scores by split [N, V, C] into `folder`.

    A CLIP model scores the views with its own image tower, after contrastive training if the recipe
    sets `teacher.text.epochs`. Precomputed embeddings have no image tower: they are scored against
    the projected features of the `visual` teacher, which is None otherwise.

    Raises:
        RequestError: the text teacher cannot be created.
        DataError: its weights or embeddings do not fit, or its scores are not finite.
    """
    settings = recipe.teacher.text
    if settings.embeddings is None:
        texts, train, val, scale = _clip_scores(recipe, data, events, trainer_config)
    else:
        if visual is None:
            raise TypeError("precomputed embeddings require the visual teacher")
        embeddings = read_embeddings(settings.embeddings, data.class_names)
        texts, train, val = _visual_scores(embeddings, recipe, data, visual, events)
        scale = None
    if not (torch.isfinite(train).all() and torch.isfinite(val).all()):
        raise DataError(
            "The text teacher's scores are not finite.",
            where="teacher.text",
            advice="Choose other weights: these contain NaN or infinite values.",
        )
    tensors = {"texts": texts, "train": train.contiguous(), "val": val.contiguous()}
    weights.write_tensors(tensors, folder / TEXT_SCORES)
    correct = val.argmax(dim=2) == torch.from_numpy(data.labels("val")).view(-1, 1)
    top1 = dict(zip(VIEWS, correct.float().mean(dim=0).tolist(), strict=True))
    events.say(f"The text teacher's top-1 by view: {percentages(top1)}.")
    return TextTeacherRecord(
        model=settings.embeddings.name if settings.embeddings else str(settings.model),
        image_tower=settings.embeddings is None,
        top1_by_view=top1,
        logit_scale=scale,
    )


def _clip_scores(
    recipe: Recipe, data: PreparedData, events: Events, trainer_config: TrainerConfig | None
) -> tuple[Tensor, Tensor, Tensor, float | None]:
    settings, device = recipe.teacher.text, training_device()
    torch.manual_seed(recipe.seed)
    text = text_teacher.create(settings, recipe.prompts, data.class_names).to(device)
    if settings.epochs:
        text_teacher.train(
            text,
            data.images("train"),
            data.labels("train"),
            recipe.views,
            Schedule(
                epochs=settings.epochs,
                batch_size=settings.batch_size,
                learning_rate=settings.learning_rate,
                weight_decay=0.05,
                seed=recipe.seed,
            ),
            device,
            events,
            trainer_config,
        )
    train, val = (
        text_teacher.semantic_scores(text, data.images(split), recipe.views, device, events)
        for split in ("train", "val")
    )
    with torch.inference_mode():
        return text.embed_classes().cpu(), train, val, float(text_teacher.logit_scale(text))


def _visual_scores(
    texts: Tensor, recipe: Recipe, data: PreparedData, visual: Classifier, events: Events
) -> tuple[Tensor, Tensor, Tensor]:
    """cos(W f_v(x), t_{v,k}), with the projection W fitted on the training split."""
    device = training_device()
    visual.to(device).to(memory_format=torch.channels_last)
    train, val = (
        features_by_view(visual, data.images(split), recipe.views, device, events)
        for split in ("train", "val")
    )
    projection = fit_projection(train, torch.from_numpy(data.labels("train")), texts)
    return (
        texts,
        projected_scores(train, projection, texts),
        projected_scores(val, projection, texts),
    )
