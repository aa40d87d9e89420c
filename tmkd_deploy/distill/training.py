"""One training loop for every model that is trained here."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn

from tmkd_deploy.distill.batches import to_float
from tmkd_deploy.errors import RequestError
from tmkd_deploy.events import Events


@dataclass(frozen=True)
class Schedule:
    """How long and how fast a model is trained.

    "cosine" warms up for one epoch (a tenth of a short run) and decays to zero; "steps" divides the
    rate by ten at 5/8, 6/8 and 7/8 of the steps, the schedule of most distillation papers on
    CIFAR-100. AdamW spares biases and norms from decay and clips the gradient's norm at 5; SGD has
    momentum 0.9, decays all alike and does not clip, again as those papers do.
    """

    epochs: int
    batch_size: int
    learning_rate: float
    weight_decay: float
    seed: int
    optimizer: Literal["adamw", "sgd"] = "adamw"
    decay: Literal["cosine", "steps"] = "cosine"


@dataclass(frozen=True)
class Step:
    """What a loss function is told: the epoch, and which images with which random numbers."""

    epoch: int
    indices: Tensor
    random: torch.Generator


def fit(
    parameters: Iterable[nn.Parameter],
    images: int,
    schedule: Schedule,
    loss_of: Callable[[Step], Tensor],
    events: Events,
    description: str,
) -> None:
    """Minimise `loss_of` over shuffled batches of image indices.

    Raises:
        RequestError: the loss is no longer a number.
    """
    random = torch.Generator().manual_seed(schedule.seed)
    trained = [parameter for parameter in parameters if parameter.requires_grad]
    optimizer = _optimizer(trained, schedule)
    steps = schedule.epochs * _batches(images, schedule.batch_size)
    rate = _rate(optimizer, schedule, steps)
    task = events.begin(description, schedule.epochs * images, "images")
    try:
        for epoch in range(schedule.epochs):
            for indices in shuffled(images, schedule.batch_size, random):
                loss = loss_of(Step(epoch, indices, random))
                value = float(loss.detach())
                if not np.isfinite(value):
                    raise RequestError(
                        f"The loss became {value} in epoch {epoch + 1} of {description!r}.",
                        advice="Lower the learning rate of this stage in the recipe.",
                    )
                optimizer.zero_grad(set_to_none=True)
                loss.backward()  # type: ignore[no-untyped-call]
                if schedule.optimizer == "adamw":
                    nn.utils.clip_grad_norm_(trained, 5.0)
                optimizer.step()
                rate.step()
                task.advance(len(indices), loss=value)
    finally:
        task.finish()


def shuffled(images: int, batch_size: int, random: torch.Generator) -> Iterator[Tensor]:
    """All image indices once, in random order, in batches; a last batch of one is left out.

    Batch normalisation cannot learn from a batch of one image.
    """
    order = torch.randperm(images, generator=random)
    for batch in torch.split(order, batch_size):
        if len(batch) > 1:
            yield batch


def training_device() -> torch.device:
    """The GPU where there is one, otherwise the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def predict(
    model: nn.Module, images: np.ndarray | Tensor, device: torch.device, batch_size: int = 64
) -> Tensor:
    """Logits [N, C] (float32, on the CPU) of a model that returns logits and features."""
    model.eval()
    with torch.inference_mode():
        parts = [
            model(to_float(images[start : start + batch_size], None, device))[0].float().cpu()
            for start in range(0, len(images), batch_size)
        ]
    return torch.cat(parts)


def _optimizer(trained: list[nn.Parameter], schedule: Schedule) -> torch.optim.Optimizer:
    rate, decay = schedule.learning_rate, schedule.weight_decay
    if schedule.optimizer == "sgd":
        return torch.optim.SGD(trained, lr=rate, momentum=0.9, weight_decay=decay)
    return torch.optim.AdamW(_decayed(trained, decay), lr=rate)


def _rate(
    optimizer: torch.optim.Optimizer, schedule: Schedule, steps: int
) -> torch.optim.lr_scheduler.LRScheduler:
    if schedule.decay == "steps":
        milestones = [steps * eighths // 8 for eighths in (5, 6, 7)]
        return torch.optim.lr_scheduler.MultiStepLR(optimizer, milestones, gamma=0.1)
    return torch.optim.lr_scheduler.OneCycleLR(
        optimizer,
        max_lr=schedule.learning_rate,
        total_steps=max(steps, 2),
        pct_start=min(0.3, max(0.1, 1 / schedule.epochs)),
        cycle_momentum=False,
    )


def _batches(images: int, batch_size: int) -> int:
    full, rest = divmod(images, batch_size)
    return full + (1 if rest > 1 else 0)


def _decayed(parameters: list[nn.Parameter], decay: float) -> list[dict[str, object]]:
    """Weight decay for matrices and kernels alone; biases and norms stay free of it."""
    return [
        {"params": [p for p in parameters if p.ndim > 1], "weight_decay": decay},
        {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
    ]
