"""The stage that weighs: what the text teacher says of every view of every image, once."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from tmkd_deploy.data.prepared import PreparedData
from tmkd_deploy.distill import text_teacher
from tmkd_deploy.distill.projection import fit_projection, projected_scores
from tmkd_deploy.distill.text_embeddings import read_embeddings
from tmkd_deploy.distill.visual_teacher import features_by_view
from tmkd_deploy.errors import DataError
from tmkd_deploy.events import Events
from tmkd_deploy.models import weights
from tmkd_deploy.models.classifier import Classifier
from tmkd_deploy.recipe.schema import Recipe
from tmkd_deploy.records.distillation import TextTeacherRecord
from tmkd_deploy.records.types import VIEWS
from tmkd_deploy.training.fit import Schedule, training_device
from tmkd_deploy.training.trainer_config import TrainerConfig

TEXTS = "text.safetensors"


def score_views(
    recipe: Recipe,
    data: PreparedData,
    visual: Classifier | None,
    folder: Path,
    events: Events,
    trainer_config: TrainerConfig | None = None,
) -> TextTeacherRecord:
    """Write the text teacher's embeddings [V, C, d] and scores by split [N, V, C] into `folder`.

    Precomputed embeddings are scored on the features of the `visual` teacher; a CLIP model needs
    none, and is trained first where the recipe asks for it.

    Raises:
        RequestError, DataError: the text teacher cannot be made; its scores are no numbers.
    """
    settings = recipe.teacher.text
    if settings.embeddings is None:
        texts, train, test = _by_clip(recipe, data, events, trainer_config)
    else:
        if visual is None:
            raise TypeError("precomputed embeddings need the visual teacher's features")
        embeddings = read_embeddings(settings.embeddings, data.class_names)
        texts, train, test = _by_features(embeddings, recipe, data, visual, events)
    if not (torch.isfinite(train).all() and torch.isfinite(test).all()):
        raise DataError(
            "The text teacher's scores are not finite.",
            where="teacher.text",
            advice="Name other weights: these hold values that are no numbers.",
        )
    written = {"texts": texts, "train": train.contiguous(), "test": test.contiguous()}
    weights.write_tensors(written, folder / TEXTS)
    right = test.argmax(dim=2) == torch.from_numpy(data.labels("test")).view(-1, 1)
    top1 = dict(zip(VIEWS, right.float().mean(dim=0).tolist(), strict=True))
    shown = ", ".join(f"{view} {100 * share:.1f} %" for view, share in top1.items())
    events.say(f"The text teacher's top-1 by view is {shown}.")
    return TextTeacherRecord(
        model=settings.embeddings.name if settings.embeddings else str(settings.model),
        image_tower=settings.embeddings is None,
        top1_by_view=top1,
    )


def _by_clip(
    recipe: Recipe, data: PreparedData, events: Events, trainer_config: TrainerConfig | None
) -> tuple[Tensor, Tensor, Tensor]:
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
                settings.epochs, settings.batch_size, settings.learning_rate, 0.05, recipe.seed
            ),
            device,
            events,
            trainer_config,
        )
    train, test = (
        text_teacher.semantic_scores(text, data.images(split), recipe.views, device, events)
        for split in ("train", "test")
    )
    with torch.inference_mode():
        return text.embed_classes().cpu(), train, test


def _by_features(
    texts: Tensor, recipe: Recipe, data: PreparedData, visual: Classifier, events: Events
) -> tuple[Tensor, Tensor, Tensor]:
    """cos(W f_v(x), t_{v,k}), with W fitted to the training split."""
    device = training_device()
    visual.to(device).to(memory_format=torch.channels_last)
    train, test = (
        features_by_view(visual, data.images(split), recipe.views, device, events)
        for split in ("train", "test")
    )
    projection = fit_projection(train, torch.from_numpy(data.labels("train")), texts)
    return (
        texts,
        projected_scores(train, projection, texts),
        projected_scores(test, projection, texts),
    )
