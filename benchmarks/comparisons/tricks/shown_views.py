"""The student is shown the views as one more augmentation."""

from __future__ import annotations

from dataclasses import replace

import torch

from tmkd_deploy.distill.views import one_view_each
from tmkd_deploy.recipe import schema
from tmkd_deploy.records.types import VIEWS
from tmkd_deploy.training.augment import Rows
from tmkd_deploy.training.batches import Batch, TrainingImages

SHARE = 0.5  # of the images that become another view, each of the others equally often


class ShownViews(TrainingImages):
    """Training images of which half become their edge or high-frequency view at random."""

    def _augmented(
        self, indices: torch.Tensor, random: torch.Generator, device: torch.device, rows: Rows
    ) -> Batch:
        batch = super()._augmented(indices, random, device, rows)
        others = torch.randint(1, len(VIEWS), (len(indices),), generator=random)
        shown = torch.where(torch.rand(len(indices), generator=random) < SHARE, others, 0)[rows]
        images = one_view_each(batch.images, schema.Views(), shown)
        return replace(batch, images=images.contiguous(memory_format=torch.channels_last))
