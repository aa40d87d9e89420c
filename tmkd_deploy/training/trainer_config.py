"""How a training runs, independent of its loss: precision, checkpoints, trackers."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor, nn

from tmkd_deploy.training.checkpoint import Checkpoints
from tmkd_deploy.training.distributed import BatchShard
from tmkd_deploy.training.sync_batchnorm import synchronised_batch_norms
from tmkd_deploy.training.tracking import Tracking

Precision = Literal["auto", "float32", "bfloat16", "float16"]
Forward = Callable[[Tensor, BatchShard], tuple[Tensor, Tensor]]


@dataclass(frozen=True)
class TrainerConfig:
    """Everything about a training that is independent of its loss.

    The precision "auto" is bfloat16 on a GPU that supports it, float16 on an older GPU, and float32
    on a CPU.
    """

    precision: Precision = "float32"
    compile: bool = False
    checkpoints: Checkpoints | None = None
    tracking: Tracking = field(default_factory=Tracking)

    def dtype(self, device: torch.device) -> torch.dtype:
        """The dtype of forward passes on `device`."""
        if self.precision != "auto":
            return {
                "float32": torch.float32,
                "bfloat16": torch.bfloat16,
                "float16": torch.float16,
            }[self.precision]
        if device.type != "cuda":
            return torch.float32
        return torch.bfloat16 if torch.cuda.is_bf16_supported(False) else torch.float16

    @contextmanager
    def distributed_forward(self, model: nn.Module, device: torch.device) -> Iterator[Forward]:
        """The forward pass of a training step: this process's images in, the whole batch's out.

        It maps images [n, 3, H, W] and their shard of a batch of `total` images to logits
        [total, C] and features [total, D], of at least float32 whatever the precision.
        """
        compiled = torch.compile(model) if self.compile else model
        dtype = self.dtype(device)
        mixed = dtype is not torch.float32
        with synchronised_batch_norms(model) as synchronisation:

            def forward(images: Tensor, shard: BatchShard) -> tuple[Tensor, Tensor]:
                synchronisation.enabled = not shard.is_replicated
                with torch.autocast(device.type, dtype, enabled=mixed):
                    logits, features = compiled(images)
                logits, features = (
                    shard.gather(_at_least_float32(output)) for output in (logits, features)
                )
                return logits, features

            yield forward


def _at_least_float32(values: Tensor) -> Tensor:
    return values.to(torch.promote_types(values.dtype, torch.float32))
