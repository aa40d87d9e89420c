"""Teacher outputs: the fused teacher's logits and features of a batch, computed live or cached."""

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
from tmkd_deploy.training.augment import apply, augmentation_count
from tmkd_deploy.training.batches import Batch, to_float


class TeacherOutputSource(Protocol):
    """Where a training step gets the teachers' outputs from."""

    def for_batch(self, batch: Batch) -> TeacherOutputs:
        """The outputs for the images of `batch`, on their device."""


@dataclass(frozen=True)
class FusedTeacher:
    """The visual teacher with its outputs fused over the views.

    `weights` [N, V] are the view weights of the training images.
    """

    visual: nn.Module
    settings: ViewSettings
    views: list[View]
    weights: Tensor

    def outputs(self, images: Tensor, weights: Tensor) -> TeacherOutputs:
        """Fused outputs for augmented images [n, 3, H, W] in [0, 1] and weights [n, V].

        All views of all images go through the teacher as one batch.
        """
        with torch.no_grad():
            views = make_views(images, self.settings, self.views)
            stacked = views.flatten(0, 1).contiguous(memory_format=torch.channels_last)
            logits, features = (
                part.float().unflatten(0, views.shape[:2]) for part in self.visual(stacked)
            )
            weights = weights.to(images.device)
            return TeacherOutputs(fuse(logits, weights), fuse(features, weights))


@dataclass(frozen=True)
class LiveTeacherOutputs:
    """Runs the visual teacher at every step, for augmentations that cannot be enumerated."""

    teacher: FusedTeacher

    def for_batch(self, batch: Batch) -> TeacherOutputs:
        """See `TeacherOutputSource`; mixed images mix their view weights, too."""
        weights = self.teacher.weights[batch.indices]
        if mixed_in := batch.mixed_in:
            weights = torch.lerp(self.teacher.weights[mixed_in.indices], weights, mixed_in.share)
        return self.teacher.outputs(batch.images, weights)


@dataclass(frozen=True)
class CachedTeacherOutputs:
    """Fused logits [A, N, C] and features [A, N, D] of A augmentations of N training images."""

    logits: Tensor
    features: Tensor

    def for_batch(self, batch: Batch) -> TeacherOutputs:
        """See `TeacherOutputSource`; looks up each image in its own augmentation."""
        device = batch.images.device
        return TeacherOutputs(
            self.logits[batch.augmentations, batch.indices].to(device),
            self.features[batch.augmentations, batch.indices].to(device).float(),
        )


def cache_teacher_outputs(
    teacher: FusedTeacher,
    images: np.ndarray | Tensor,
    augment: Augment,
    max_augmentations: int,
    device: torch.device,
    events: Events,
) -> CachedTeacherOutputs:
    """The outputs for uint8 images [N, H, W, 3], each in up to `max_augmentations` augmentations.

    Features are cached as float16.
    """
    count = augmentation_count(augment, max_augmentations)
    task = events.begin("Caching teacher outputs", count * len(images), "images")
    outputs: list[list[TeacherOutputs]] = [[] for _ in range(count)]
    try:
        for indices in torch.split(torch.arange(len(images)), 32):
            batch = to_float(images, indices, device)
            for number in range(count):
                augmented = apply(batch, augment, number)
                outputs[number].append(teacher.outputs(augmented, teacher.weights[indices]))
                task.advance(len(batch))
    finally:
        task.finish()
    return CachedTeacherOutputs(
        torch.stack([torch.cat([each.logits.cpu() for each in row]) for row in outputs]),
        torch.stack([torch.cat([each.features.half().cpu() for each in row]) for row in outputs]),
    )
