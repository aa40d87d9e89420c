"""The visual teacher: one network trained on all views."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn

from tmkd_deploy.distill.losses.labels import label_loss
from tmkd_deploy.distill.settings import ViewSettings
from tmkd_deploy.distill.views import make_views, one_view_each
from tmkd_deploy.events import Events, track
from tmkd_deploy.records.types import VIEWS, View
from tmkd_deploy.training.batches import Batch, TrainingImages, to_float
from tmkd_deploy.training.fit import fit
from tmkd_deploy.training.schedule import Schedule
from tmkd_deploy.training.step import Step, batch_of
from tmkd_deploy.training.trainer_config import TrainerConfig

if TYPE_CHECKING:
    from tmkd_deploy.records.training import TrainingCurve
    from tmkd_deploy.training.best_epoch import Validation

_BATCH = 64


def fine_tune(
    visual: nn.Module,
    images: TrainingImages,
    views: ViewSettings,
    schedule: Schedule,
    device: torch.device,
    events: Events,
    *,
    trained_views: Sequence[View] = VIEWS,
    trainer_config: TrainerConfig | None = None,
    validation: Validation | None = None,
    class_weights: Tensor | None = None,
) -> TrainingCurve | None:
    """Train `visual` on one of `trained_views` of each image, drawn at random in every epoch.

    It learns all of them at the cost of one, and is validated on the images themselves.
    `class_weights` [C] weight the images by their class.
    """
    view_indices = torch.tensor([VIEWS.index(view) for view in trained_views])
    trainer_config = trainer_config or TrainerConfig()
    weights = None if class_weights is None else class_weights.to(device)
    with trainer_config.distributed_forward(visual, device) as forward:

        def prepare(step: Step) -> Batch:
            rows = step.shard.rows
            batch = images.batch(step.indices, step.random, device, rows)
            drawn = torch.randint(len(view_indices), (len(step.indices),), generator=step.random)
            pixels = one_view_each(batch.images, views, view_indices[drawn[rows]])
            return replace(batch, images=pixels.contiguous(memory_format=torch.channels_last))

        def loss_of(step: Step) -> Tensor:
            visual.train()
            batch = batch_of(step)
            logits, _ = forward(batch.images, step.shard)
            labels = step.shard.gather(batch.labels)
            return label_loss(logits, labels, weights, smoothing=0.1)

        return fit(
            visual.parameters(),
            len(images),
            schedule,
            loss_of,
            events,
            "Training the visual teacher on three views",
            modules=[visual],
            prepare=prepare,
            trainer_config=trainer_config,
            validation=validation,
        )


def top1_by_view(
    visual: nn.Module,
    images: np.ndarray | Tensor,
    labels: np.ndarray,
    views: ViewSettings,
    device: torch.device,
    events: Events,
) -> dict[str, float]:
    """Top-1 in [0, 1] on every view of uint8 images [N, H, W, 3]."""
    correct = np.zeros(len(VIEWS))
    outputs = _outputs_by_view(
        visual, images, views, device, events, "Evaluating the visual teacher"
    )
    for start, logits, _ in outputs:
        predicted = logits.argmax(dim=2).cpu().numpy()
        correct += (predicted == labels[start : start + _BATCH]).sum(axis=1)
    return dict(zip(VIEWS, (correct / len(images)).tolist(), strict=True))


def percentages(top1_by_view: Mapping[str, float]) -> str:
    """Top-1 shares in [0, 1] as text for messages, such as "rgb 91.2 %, edge 88.0 %"."""
    return ", ".join(f"{view} {100 * share:.1f} %" for view, share in top1_by_view.items())


def features_by_view(
    visual: nn.Module,
    images: np.ndarray | Tensor,
    views: ViewSettings,
    device: torch.device,
    events: Events,
) -> Tensor:
    """Features [V, N, D] (float32, on the CPU) of every view of uint8 images [N, H, W, 3]."""
    outputs = _outputs_by_view(visual, images, views, device, events, "Computing visual features")
    return torch.cat([features.float().cpu() for _, _, features in outputs], dim=1)


def logits_by_view(
    visual: nn.Module,
    images: np.ndarray | Tensor,
    views: ViewSettings,
    device: torch.device,
    events: Events,
) -> Tensor:
    """Logits [V, N, C] (float32, on the CPU) of every view of uint8 images [N, H, W, 3]."""
    outputs = _outputs_by_view(visual, images, views, device, events, "Computing teacher logits")
    return torch.cat([logits.float().cpu() for _, logits, _ in outputs], dim=1)


def _outputs_by_view(
    visual: nn.Module,
    images: np.ndarray | Tensor,
    views: ViewSettings,
    device: torch.device,
    events: Events,
    description: str,
) -> Iterator[tuple[int, Tensor, Tensor]]:
    """For each batch: its first row, its logits [V, n, C] and its features [V, n, D]."""
    visual.eval()
    starts = range(0, len(images), _BATCH)
    for start in track(events, starts, description, len(starts), "batches"):
        with torch.inference_mode():
            batch = to_float(images[start : start + _BATCH], None, device)
            stacked = make_views(batch, views, list(VIEWS))
            outputs = visual(stacked.flatten(0, 1).to(memory_format=torch.channels_last))
            logits, features = (part.unflatten(0, stacked.shape[:2]) for part in outputs)
        yield start, logits, features
