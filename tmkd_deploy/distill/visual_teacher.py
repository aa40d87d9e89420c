"""The visual teacher: one network that is competent on every view."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tmkd_deploy.distill.settings import ViewSettings
from tmkd_deploy.distill.views import make_views, one_view_each
from tmkd_deploy.events import Events, track
from tmkd_deploy.records.types import VIEWS, View
from tmkd_deploy.training.batches import Batch, TrainingImages, to_float
from tmkd_deploy.training.fit import Schedule, Step, batch_of, fit
from tmkd_deploy.training.trainer_config import TrainerConfig

_BATCH = 64


def fine_tune(
    visual: nn.Module,
    images: TrainingImages,
    views: ViewSettings,
    schedule: Schedule,
    device: torch.device,
    events: Events,
    *,
    shown: Sequence[View] = VIEWS,
    trainer_config: TrainerConfig | None = None,
) -> None:
    """Train `visual` on one of the views `shown` of each image, drawn anew in every epoch.

    It reads all of them afterwards, at the cost of showing it one.
    """
    places = torch.tensor([VIEWS.index(view) for view in shown])
    trainer_config = trainer_config or TrainerConfig()
    with trainer_config.running(visual, device) as run:

        def prepare(step: Step) -> Batch:
            rows = step.share.rows
            batch = images.batch(step.indices, step.random, device, rows)
            drawn = torch.randint(len(places), (len(step.indices),), generator=step.random)
            pixels = one_view_each(batch.images, views, places[drawn[rows]])
            return replace(batch, images=pixels.contiguous(memory_format=torch.channels_last))

        def loss_of(step: Step) -> Tensor:
            visual.train()
            batch = batch_of(step)
            logits, _ = run(batch.images, step.share)
            labels = step.share.whole(batch.labels)
            return F.cross_entropy(logits, labels, label_smoothing=0.1)

        fit(
            visual.parameters(),
            len(images),
            schedule,
            loss_of,
            events,
            "Training the visual teacher on three views",
            modules=[visual],
            prepare=prepare,
            trainer_config=trainer_config,
        )


def top1_by_view(
    visual: nn.Module,
    images: np.ndarray | Tensor,
    labels: np.ndarray,
    views: ViewSettings,
    device: torch.device,
    events: Events,
) -> dict[str, float]:
    """Top-1, in [0, 1], of every view of uint8 images [N, H, W, 3]."""
    right = np.zeros(len(VIEWS))
    seen = _in_all_views(visual, images, views, device, events, "Checking the visual teacher")
    for start, logits, _ in seen:
        chosen = logits.argmax(dim=2).cpu().numpy()
        right += (chosen == labels[start : start + _BATCH]).sum(axis=1)
    return dict(zip(VIEWS, (right / len(images)).tolist(), strict=True))


def features_by_view(
    visual: nn.Module,
    images: np.ndarray | Tensor,
    views: ViewSettings,
    device: torch.device,
    events: Events,
) -> Tensor:
    """Features [V, N, D] (float32, on the CPU) of every view of uint8 images [N, H, W, 3]."""
    seen = _in_all_views(visual, images, views, device, events, "Reading views for the text")
    return torch.cat([features.float().cpu() for _, _, features in seen], dim=1)


def _in_all_views(
    visual: nn.Module,
    images: np.ndarray | Tensor,
    views: ViewSettings,
    device: torch.device,
    events: Events,
    description: str,
) -> Iterator[tuple[int, Tensor, Tensor]]:
    """Of each batch where it starts, its logits [V, n, C] and its features [V, n, D]."""
    visual.eval()
    starts = range(0, len(images), _BATCH)
    for start in track(events, starts, description, len(starts), "batches"):
        with torch.inference_mode():
            batch = to_float(images[start : start + _BATCH], None, device)
            shown = make_views(batch, views, list(VIEWS))
            outputs = visual(shown.flatten(0, 1).to(memory_format=torch.channels_last))
            logits, features = (part.unflatten(0, shown.shape[:2]) for part in outputs)
        yield start, logits, features
