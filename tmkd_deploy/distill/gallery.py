"""A few test images as the teachers see them, kept for the report."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from tmkd_deploy.data.prepared import PreparedData
from tmkd_deploy.distill.batches import to_float
from tmkd_deploy.distill.teach import Teachers
from tmkd_deploy.distill.views import make_views
from tmkd_deploy.distill.weights import semantic_weights
from tmkd_deploy.recipe.schema import Recipe
from tmkd_deploy.recipe.vocabulary import VIEWS

VIEW_IMAGES = "views.npy"
VIEW_WEIGHTS = "view_weights.npy"
_IMAGES = 6


def keep_gallery(recipe: Recipe, data: PreparedData, teachers: Teachers, folder: Path) -> list[str]:
    """Write views uint8 [k, 3, H, W, 3] and weights float32 [k, 3]; return k captions.

    The images are the first of each class in turn.
    """
    labels = data.labels("test")
    places = [np.flatnonzero(labels == label) for label in range(len(data.class_names))]
    order = [int(rows[turn]) for turn in range(_IMAGES) for rows in places if turn < len(rows)]
    chosen = order[:_IMAGES]
    images = to_float(np.asarray(data.images("test")[chosen]), None, torch.device("cpu"))
    shown = make_views(images, recipe.views, list(VIEWS)).permute(1, 0, 3, 4, 2)
    np.save(folder / VIEW_IMAGES, (shown * 255).round().to(torch.uint8).numpy())
    weights = semantic_weights(
        teachers.scores["test"][chosen],
        torch.from_numpy(labels[chosen]),
        recipe.distill.weight_temperature,
    )
    np.save(folder / VIEW_WEIGHTS, weights.numpy())
    keys = data.keys("test")
    return [f"{keys[index]}, {data.class_names[labels[index]]}" for index in chosen]
