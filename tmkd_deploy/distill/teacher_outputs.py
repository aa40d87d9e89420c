"""Teacher signals: what the fused teacher says of a batch, live or looked up."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch import Tensor, nn

from tmkd_deploy.distill.fusion import fuse
from tmkd_deploy.distill.losses.total import TeacherOutputs
from tmkd_deploy.distill.settings import ViewSettings
from tmkd_deploy.distill.views import make_views
from tmkd_deploy.events import Events
from tmkd_deploy.records.types import Augment, View
from tmkd_deploy.training.augment import apply, variants
from tmkd_deploy.training.batches import Batch, to_float


class TeacherOutputSource(Protocol):
    """Where a training step gets the teachers' word from."""

    def of(self, batch: Batch) -> TeacherOutputs:
        """The signals of the images of `batch`, on the device they are on."""


@dataclass(frozen=True)
class Asking:
    """How the visual teacher is asked: in which views, and how each image weighs them.

    `weights` is [N, V], a row for each training image.
    """

    visual: nn.Module
    settings: ViewSettings
    views: list[View]
    weights: Tensor

    def ask(self, images: Tensor, indices: Tensor) -> TeacherOutputs:
        """Fused signals of augmented images [n, 3, H, W] in [0, 1], the training images `indices`.

        All views of all images go through the teacher as one tensor.
        """
        with torch.no_grad():
            shown = make_views(images, self.settings, self.views)
            stacked = shown.flatten(0, 1).contiguous(memory_format=torch.channels_last)
            logits, features = (
                part.float().unflatten(0, shown.shape[:2]) for part in self.visual(stacked)
            )
            own = self.weights[indices].to(images.device)
            return TeacherOutputs(fuse(logits, own), fuse(features, own))


@dataclass(frozen=True)
class LiveTeacherOutputs:
    """Asks the visual teacher in every step: for augmentations without end."""

    asking: Asking

    def of(self, batch: Batch) -> TeacherOutputs:
        """See `SignalSource`."""
        return self.asking.ask(batch.images, batch.indices)


@dataclass(frozen=True)
class CachedTeacherOutputs:
    """Fused logits [A, N, C] and features [A, N, D] for A variants of N training images."""

    logits: Tensor
    features: Tensor

    def of(self, batch: Batch) -> TeacherOutputs:
        """See `SignalSource`; each image in its own numbered variant."""
        device = batch.images.device
        return TeacherOutputs(
            self.logits[batch.variant, batch.indices].to(device),
            self.features[batch.variant, batch.indices].to(device).float(),
        )


def cache_teacher_outputs(
    asking: Asking,
    images: np.ndarray | Tensor,
    augment: Augment,
    at_most: int,
    device: torch.device,
    events: Events,
) -> CachedTeacherOutputs:
    """Ask the teachers once for every image [N, H, W, 3] in its first `at_most` variants."""
    count = variants(augment, at_most)
    task = events.begin("Asking the teachers", count * len(images), "images")
    told: list[list[TeacherOutputs]] = [[] for _ in range(count)]
    try:
        for indices in torch.split(torch.arange(len(images)), 32):
            batch = to_float(images, indices, device)
            for variant in range(count):
                told[variant].append(asking.ask(apply(batch, augment, variant), indices))
                task.advance(len(batch))
    finally:
        task.finish()
    return CachedTeacherOutputs(
        torch.stack([torch.cat([each.logits.cpu() for each in row]) for row in told]),
        torch.stack([torch.cat([each.features.half().cpu() for each in row]) for row in told]),
    )
