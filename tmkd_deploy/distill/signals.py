"""Teacher signals: computed once for a fixed set of augmentations, then looked up."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from tmkd_deploy.distill.augment import apply, variants
from tmkd_deploy.distill.losses.total import Signals
from tmkd_deploy.distill.teach import Teachers
from tmkd_deploy.distill.training import to_float, training_device
from tmkd_deploy.distill.views import make_views
from tmkd_deploy.distill.weights import even_weights, fuse, semantic_weights
from tmkd_deploy.events import Events
from tmkd_deploy.recipe.schema import VIEWS, Recipe


@dataclass(frozen=True)
class SignalCache:
    """Fused logits [A, N, C] and features [A, N, D] for A variants of N training images."""

    logits: Tensor
    features: Tensor

    def of(self, variant: Tensor, indices: Tensor, device: torch.device) -> Signals:
        """The signals of images `indices` [n], each in its own `variant` [n]."""
        return Signals(
            self.logits[variant, indices].to(device),
            self.features[variant, indices].to(device).float(),
        )


def view_weights(teachers: Teachers, recipe: Recipe, split: str, labels: np.ndarray) -> Tensor:
    """The weight [N, V'] of each view that the recipe's distillation uses."""
    settings = recipe.distill
    if not settings.text_weights:
        return even_weights(len(labels), len(settings.views))
    used = [VIEWS.index(view) for view in settings.views]
    scores = teachers.scores[split][:, used]
    return semantic_weights(scores, torch.from_numpy(labels), settings.weight_temperature)


def cache_signals(
    teachers: Teachers, recipe: Recipe, images: np.ndarray, labels: np.ndarray, events: Events
) -> SignalCache:
    """Show every variant of every image in every view to the visual teacher, and fuse.

    All views of a batch go through the teacher as one tensor.
    """
    device = training_device()
    settings = recipe.distill
    visual = teachers.visual.to(device).to(memory_format=torch.channels_last).eval()
    weights = view_weights(teachers, recipe, "train", labels)
    count = variants(settings.augment, settings.cached_variants)
    logits = torch.empty(count, len(images), teachers.texts.shape[1])
    features = torch.empty(count, len(images), teachers.facts.feature_width, dtype=torch.float16)
    task = events.begin("Asking the teachers", count * len(images), "images")
    batch_size = 32
    try:
        with torch.inference_mode():
            for start in range(0, len(images), batch_size):
                rows = slice(start, min(start + batch_size, len(images)))
                batch = to_float(images[rows], None, device)
                for variant in range(count):
                    turned = apply(batch, settings.augment, variant)
                    shown = make_views(turned, recipe.views, settings.views)
                    stacked = shown.flatten(0, 1).to(memory_format=torch.channels_last)
                    by_view = [part.unflatten(0, shown.shape[:2]) for part in visual(stacked)]
                    own = weights[rows].to(device)
                    logits[variant, rows] = fuse(by_view[0].float(), own).cpu()
                    features[variant, rows] = fuse(by_view[1].float(), own).half().cpu()
                    task.advance(len(batch))
    finally:
        task.finish()
    return SignalCache(logits, features)
