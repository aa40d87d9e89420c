"""The visual teacher: one network that is competent on every view."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tmkd_deploy.distill.settings import ViewSettings
from tmkd_deploy.distill.views import make_views, one_view_each
from tmkd_deploy.events import Events, track
from tmkd_deploy.recipe.vocabulary import VIEWS
from tmkd_deploy.training.batches import Batch, TrainingImages, to_float
from tmkd_deploy.training.conduct import Conduct
from tmkd_deploy.training.fit import Schedule, Step, batch_of, fit


def fine_tune(
    visual: nn.Module,
    images: TrainingImages,
    views: ViewSettings,
    schedule: Schedule,
    device: torch.device,
    events: Events,
    *,
    conduct: Conduct | None = None,
) -> None:
    """Train `visual` on one view of each image, drawn anew in every epoch.

    It reads all views afterwards, at a third of the cost of showing it all three.
    """
    conduct = conduct or Conduct()
    with conduct.running(visual, device) as run:

        def prepare(step: Step) -> Batch:
            rows = step.share.rows
            batch = images.batch(step.indices, step.random, device, rows)
            shown = torch.randint(len(VIEWS), (len(step.indices),), generator=step.random)[rows]
            pixels = one_view_each(batch.images, views, shown)
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
            conduct=conduct,
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
    visual.eval()
    right = np.zeros(len(VIEWS))
    starts = range(0, len(images), 64)
    with torch.inference_mode():
        for start in track(events, starts, "Checking the visual teacher", len(starts), "batches"):
            batch = to_float(images[start : start + 64], None, device)
            shown = make_views(batch, views, list(VIEWS))
            logits, _ = visual(shown.flatten(0, 1).to(memory_format=torch.channels_last))
            chosen = logits.argmax(dim=1).view(shown.shape[:2]).cpu().numpy()
            right += (chosen == labels[start : start + 64]).sum(axis=1)
    return dict(zip(VIEWS, (right / len(images)).tolist(), strict=True))
