"""Epochs, learning rate and optimizer of a training, as plain functions of the step."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from tmkd_deploy.training.randomness import generator

_INITIAL_FACTOR, _FINAL_FACTOR = 1 / 25, 1 / 250_000


@dataclass(frozen=True)
class Schedule:
    """How long and how fast a model is trained.

    "cosine" warms up over one epoch (at least a tenth and at most three tenths of the steps), then
    decays to almost zero. "multistep" divides the rate by ten at 5/8, 6/8 and 7/8 of the steps, the
    schedule of most distillation papers on CIFAR-100. AdamW exempts biases and norms from weight
    decay and clips the gradient norm at 5. SGD uses momentum 0.9, decays all parameters and does
    not clip, as those papers do.
    """

    epochs: int
    batch_size: int
    learning_rate: float
    weight_decay: float
    seed: int
    optimizer: Literal["adamw", "sgd"] = "adamw"
    lr_schedule: Literal["cosine", "multistep"] = "cosine"

    def steps_per_epoch(self, images: int) -> int:
        """The number of batches per pass over `images` images; see `shuffled`."""
        full, remainder = divmod(images, self.batch_size)
        return full + (1 if remainder > 1 else 0)

    def batches(self, images: int, first: int) -> Iterator[tuple[int, int, Tensor]]:
        """Number, epoch and image indices of every step, starting at step `first`."""
        per_epoch = self.steps_per_epoch(images)
        for epoch in range(first // max(per_epoch, 1), self.epochs):
            order = generator(self.seed, "order", epoch)
            for position, indices in enumerate(shuffled(images, self.batch_size, order)):
                number = epoch * per_epoch + position
                if number >= first:
                    yield number, epoch, indices

    def learning_rate_at(self, step: int, steps: int) -> float:
        """The learning rate at `step`, counted from 0, of `steps`.

        "cosine" equals torch's OneCycleLR with default constants: half a cosine from 1/25 of the
        peak rate up to it, and another down to 1/250,000 of it.
        """
        top = self.learning_rate
        if self.lr_schedule == "multistep":
            return float(top * 0.1 ** sum(step >= steps * eighths // 8 for eighths in (5, 6, 7)))
        steps = max(steps, 2)
        peak = min(0.3, max(0.1, 1 / self.epochs)) * steps - 1
        if step <= peak:
            return _cosine(top * _INITIAL_FACTOR, top, step / peak)
        return _cosine(top, top * _FINAL_FACTOR, (step - peak) / (steps - 1 - peak))

    def new_optimizer(self, parameters: list[nn.Parameter]) -> torch.optim.Optimizer:
        """A new optimizer of these parameters; set its learning rate before every step."""
        rate, decay = self.learning_rate, self.weight_decay
        fused = parameters[0].is_cuda  # one kernel for all parameters
        if self.optimizer == "sgd":
            return torch.optim.SGD(
                parameters, lr=rate, momentum=0.9, weight_decay=decay, fused=fused
            )
        return torch.optim.AdamW(_parameter_groups(parameters, decay), lr=rate, fused=fused)


def shuffled(images: int, batch_size: int, random: torch.Generator) -> Iterator[Tensor]:
    """All image indices in random order, in batches; a last batch of one image is dropped.

    Batch normalisation cannot train on a single image.
    """
    order = torch.randperm(images, generator=random)
    for batch in torch.split(order, batch_size):
        if len(batch) > 1:
            yield batch


def _cosine(start: float, end: float, progress: float) -> float:
    return end + (start - end) / 2 * (1 + math.cos(math.pi * progress))


def _parameter_groups(parameters: list[nn.Parameter], decay: float) -> list[dict[str, object]]:
    """Weight decay for matrices and kernels only, not for biases and norms."""
    return [
        {"params": [p for p in parameters if p.ndim > 1], "weight_decay": decay},
        {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
    ]
