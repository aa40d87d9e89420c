"""How long and how fast a model is trained, as plain functions of the step."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from tmkd_deploy.training.randomness import generator

_FIRST_SHARE, _LAST_SHARE = 1 / 25, 1 / 250_000


@dataclass(frozen=True)
class Schedule:
    """How long and how fast a model is trained.

    "cosine" warms up for one epoch (a tenth of a short run) and decays to zero; "multistep" divides
    the rate by ten at 5/8, 6/8 and 7/8 of the steps, the schedule of most distillation papers on
    CIFAR-100. AdamW spares biases and norms from decay and clips the gradient's norm at 5; SGD has
    momentum 0.9, decays all alike and does not clip, again as those papers do.
    """

    epochs: int
    batch_size: int
    learning_rate: float
    weight_decay: float
    seed: int
    optimizer: Literal["adamw", "sgd"] = "adamw"
    lr_schedule: Literal["cosine", "multistep"] = "cosine"

    def steps_per_epoch(self, images: int) -> int:
        """Batches of one pass over `images` images; see `shuffled`."""
        full, rest = divmod(images, self.batch_size)
        return full + (1 if rest > 1 else 0)

    def batches(self, images: int, first: int) -> Iterator[tuple[int, int, Tensor]]:
        """Number, epoch and image indices of every step from the step `first` on."""
        per_epoch = self.steps_per_epoch(images)
        for epoch in range(first // max(per_epoch, 1), self.epochs):
            order = generator(self.seed, "order", epoch)
            for place, indices in enumerate(shuffled(images, self.batch_size, order)):
                number = epoch * per_epoch + place
                if number >= first:
                    yield number, epoch, indices

    def learning_rate_at(self, step: int, steps: int) -> float:
        """The learning rate of the step number `step`, counted from 0, of `steps`.

        "cosine" is torch's OneCycleLR with its own constants: from 1/25 of the largest rate up to
        it, and down to 1/250,000 of it, along half a cosine each.
        """
        top = self.learning_rate
        if self.lr_schedule == "multistep":
            return float(top * 0.1 ** sum(step >= steps * eighths // 8 for eighths in (5, 6, 7)))
        steps = max(steps, 2)
        peak = min(0.3, max(0.1, 1 / self.epochs)) * steps - 1
        if step <= peak:
            return _along_cosine(top * _FIRST_SHARE, top, step / peak)
        return _along_cosine(top, top * _LAST_SHARE, (step - peak) / (steps - 1 - peak))

    def optimizer_of(self, trained: list[nn.Parameter]) -> torch.optim.Optimizer:
        """A new optimizer of these parameters; set its learning rate before every step."""
        rate, decay = self.learning_rate, self.weight_decay
        if self.optimizer == "sgd":
            return torch.optim.SGD(trained, lr=rate, momentum=0.9, weight_decay=decay)
        return torch.optim.AdamW(_decayed(trained, decay), lr=rate)


def shuffled(images: int, batch_size: int, random: torch.Generator) -> Iterator[Tensor]:
    """All image indices once, in random order, in batches; a last batch of one is left out.

    Batch normalisation cannot learn from a batch of one image.
    """
    order = torch.randperm(images, generator=random)
    for batch in torch.split(order, batch_size):
        if len(batch) > 1:
            yield batch


def _along_cosine(begin: float, end: float, share: float) -> float:
    return end + (begin - end) / 2 * (1 + math.cos(math.pi * share))


def _decayed(parameters: list[nn.Parameter], decay: float) -> list[dict[str, object]]:
    """Weight decay for matrices and kernels alone; biases and norms stay free of it."""
    return [
        {"params": [p for p in parameters if p.ndim > 1], "weight_decay": decay},
        {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
    ]
