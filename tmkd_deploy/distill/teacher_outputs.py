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
from tmkd_deploy.training.batches import Batch, fits, selected, to_device, to_float

_AT_ONCE = 32, 512  # images, on a CPU and on a GPU


class TeacherOutputSource(Protocol):
    """Where a training step gets the teachers' outputs from."""

    def for_batch(self, batch: Batch) -> TeacherOutputs:
        """The outputs for the images of `batch`, on their device."""


@dataclass(frozen=True)
class FusedTeacher:
    """The visual teacher with its outputs fused over the views.

    `weights` [N, V] are the view weights of the training images. The logits of the views are
    multiplied by `softness`; those of the text teacher, `text_logits` [N, C] of the training images
    without augmentation, are added `text_share` times. The visual teacher computes in `dtype`.
    """

    visual: nn.Module
    settings: ViewSettings
    views: list[View]
    weights: Tensor
    softness: float = 1.0
    text_logits: Tensor | None = None
    text_share: float = 0.0
    dtype: torch.dtype = torch.float32

    def outputs(
        self, images: Tensor, weights: Tensor, text_logits: Tensor | None = None
    ) -> TeacherOutputs:
        """Fused outputs for augmented images [n, 3, H, W] in [0, 1].

        `weights` [n, V] and `text_logits` [n, C] are those of the same images.
        All views of all images go through the teacher as one batch.
        """
        device, mixed = images.device, self.dtype is not torch.float32
        with torch.no_grad():
            views = make_views(images, self.settings, self.views)
            stacked = views.flatten(0, 1).contiguous(memory_format=torch.channels_last)
            with torch.autocast(device.type, self.dtype, enabled=mixed):
                parts = self.visual(stacked)
            logits, features = (part.float().unflatten(0, views.shape[:2]) for part in parts)
            weights = to_device(weights, device)
            fused = self.softness * fuse(logits, weights)
            if text_logits is not None:
                fused = fused + self.text_share * to_device(text_logits, device)
            return TeacherOutputs(fused, fuse(features, weights))


@dataclass(frozen=True)
class LiveTeacherOutputs:
    """Runs the visual teacher at every step, for augmentations that cannot be enumerated."""

    teacher: FusedTeacher

    def for_batch(self, batch: Batch) -> TeacherOutputs:
        """See `TeacherOutputSource`; mixed images mix their view weights and text logits, too."""

        def of_batch(of_images: Tensor) -> Tensor:
            own = of_images[batch.indices]
            if mixed_in := batch.mixed_in:
                own = torch.lerp(of_images[mixed_in.indices], own, mixed_in.share)
            return to_device(own, batch.images.device)

        text_logits = self.teacher.text_logits
        return self.teacher.outputs(
            batch.images,
            of_batch(self.teacher.weights),
            None if text_logits is None else of_batch(text_logits),
        )


@dataclass(frozen=True)
class CachedTeacherOutputs:
    """Fused logits [A, N, C] and features [A, N, D] of A augmentations of N training images."""

    logits: Tensor
    features: Tensor

    def for_batch(self, batch: Batch) -> TeacherOutputs:
        """See `TeacherOutputSource`; looks up each image in its own augmentation."""
        logits, features = (
            to_device(selected(every, batch.augmentations, batch.indices), batch.images.device)
            for every in (self.logits, self.features)
        )
        return TeacherOutputs(logits, features.float())

    def on(self, device: torch.device) -> CachedTeacherOutputs:
        """The same outputs, kept on a GPU if they take up to a quarter of its free memory."""
        if not fits(self.logits.nbytes + self.features.nbytes, device):
            return self
        return CachedTeacherOutputs(self.logits.to(device), self.features.to(device))


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
    text_logits = teacher.text_logits
    task = events.begin("Caching teacher outputs", count * len(images), "images")
    outputs: list[list[TeacherOutputs]] = [[] for _ in range(count)]
    try:
        for indices in torch.split(torch.arange(len(images)), _AT_ONCE[device.type == "cuda"]):
            batch = to_float(images, indices, device)
            for number in range(count):
                augmented = apply(batch, augment, number)
                by_text = None if text_logits is None else text_logits[indices]
                fused = teacher.outputs(augmented, teacher.weights[indices], by_text)
                # the host takes them, so that a GPU holds one batch
                features = fused.features.half().cpu()
                outputs[number].append(TeacherOutputs(fused.logits.cpu(), features))
                task.advance(len(batch))
    finally:
        task.finish()
    return CachedTeacherOutputs(
        torch.stack([torch.cat([each.logits for each in row]) for row in outputs]),
        torch.stack([torch.cat([each.features for each in row]) for row in outputs]),
    )
