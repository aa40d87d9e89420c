"""What the report shows about views: validation images in every view, and the view weights."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from tmkd_deploy.data.prepared import PreparedData
from tmkd_deploy.distill.train_teacher import Teachers
from tmkd_deploy.distill.views import make_views
from tmkd_deploy.recipe.schema import Recipe
from tmkd_deploy.records.distillation import VIEW_IMAGES, VIEW_WEIGHTS, ViewWeights
from tmkd_deploy.records.fusion import Fusion
from tmkd_deploy.records.types import VIEWS
from tmkd_deploy.training.batches import to_float

_IMAGES = 6
_BINS = 20


def write_gallery(
    recipe: Recipe, data: PreparedData, teachers: Teachers, fusion: Fusion, folder: Path
) -> list[str]:
    """Write views uint8 [k, 3, H, W, 3] and weights float32 [k, 3]; return k captions.

    The images take one from each class, then a second from each, and so on. A view that the recipe
    does not distil from has weight 0.
    """
    labels = data.labels("val")
    rows_by_class = [np.flatnonzero(labels == label) for label in range(len(data.class_names))]
    order = [int(rows[nth]) for nth in range(_IMAGES) for rows in rows_by_class if nth < len(rows)]
    chosen = order[:_IMAGES]
    images = to_float(np.asarray(data.images("val")[chosen]), None, torch.device("cpu"))
    views = make_views(images, recipe.views, list(VIEWS)).permute(1, 0, 3, 4, 2)
    np.save(folder / VIEW_IMAGES, (views * 255).round().to(torch.uint8).numpy())
    weights = np.zeros((len(chosen), len(VIEWS)), np.float32)
    columns = [VIEWS.index(view) for view in recipe.distill.views]
    weights[:, columns] = teachers.view_weights(recipe, fusion, "val", labels)[chosen].numpy()
    np.save(folder / VIEW_WEIGHTS, weights)
    keys = data.keys("val")
    return [f"{keys[index]}, {data.class_names[labels[index]]}" for index in chosen]


def summarise_view_weights(
    recipe: Recipe, data: PreparedData, teachers: Teachers, fusion: Fusion
) -> ViewWeights:
    """The training images' view weights: mean, mean by class, and histogram."""
    settings, labels = recipe.distill, data.labels("train")
    weights = teachers.view_weights(recipe, fusion, "train", labels).numpy()

    def mean(rows: np.ndarray) -> dict[str, float]:
        return dict(zip(settings.views, rows.mean(axis=0, dtype=float).tolist(), strict=True))

    return ViewWeights(
        guided_by=fusion.guided_by,
        mean=mean(weights),
        mean_by_class={
            name: mean(weights[labels == label])
            for label, name in enumerate(data.class_names)
            if (labels == label).any()
        },
        histogram={
            view: np.histogram(weights[:, column], bins=_BINS, range=(0, 1))[0].tolist()
            for column, view in enumerate(settings.views)
        },
    )
