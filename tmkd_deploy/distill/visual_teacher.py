"""The visual teacher: one network that is competent on every view."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tmkd_deploy.distill.batches import TrainingImages, to_float
from tmkd_deploy.distill.settings import ViewSettings
from tmkd_deploy.distill.training import Schedule, Step, fit
from tmkd_deploy.distill.views import make_views, one_view_each
from tmkd_deploy.events import Events, track
from tmkd_deploy.recipe.vocabulary import VIEWS


def fine_tune(
    visual: nn.Module,
    images: TrainingImages,
    views: ViewSettings,
    schedule: Schedule,
    device: torch.device,
    events: Events,
) -> None:
    """Train `visual` on one view of each image, drawn anew in every epoch.

    It reads all views afterwards, at a third of the cost of showing it all three.
    """

    def loss_of(step: Step) -> Tensor:
        visual.train()
        batch = images.batch(step.indices, step.random, device)
        shown = torch.randint(len(VIEWS), (len(batch.labels),), generator=step.random)
        pixels = one_view_each(batch.images, views, shown)
        logits, _ = visual(pixels.contiguous(memory_format=torch.channels_last))
        return F.cross_entropy(logits, batch.labels, label_smoothing=0.1)

    description = "Training the visual teacher on three views"
    fit(visual.parameters(), len(images), schedule, loss_of, events, description)


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
