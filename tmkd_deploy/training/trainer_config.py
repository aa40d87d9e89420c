"""How a training is conducted, apart from what it learns: precision, checkpoints, trackers."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor, nn

from tmkd_deploy.training.checkpoint import Checkpoints
from tmkd_deploy.training.norms import shared_norms
from tmkd_deploy.training.processes import Share
from tmkd_deploy.training.tracking import Tracking

Precision = Literal["auto", "float32", "bfloat16", "float16"]
Run = Callable[[Tensor, Share], tuple[Tensor, Tensor]]


@dataclass(frozen=True)
class TrainerConfig:
    """Everything about a training that its loss does not know.

    "auto" is bfloat16 on a GPU that has it, float16 on an older one, and float32 on a CPU.
    """

    precision: Precision = "float32"
    compile: bool = False
    checkpoints: Checkpoints | None = None
    tracking: Tracking = field(default_factory=Tracking)

    def dtype(self, device: torch.device) -> torch.dtype:
        """The number format of forward passes on `device`."""
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
    def running(self, model: nn.Module, device: torch.device) -> Iterator[Run]:
        """`model` as a step runs it: on this process's images, with outputs of the whole batch.

        It maps images [n, 3, H, W] and their share of a batch of `total` to logits [total, C] and
        features [total, D], float32 at least whatever the precision is.
        """
        compiled = torch.compile(model) if self.compile else model
        dtype = self.dtype(device)
        mixed = dtype is not torch.float32
        with shared_norms(model) as norms:

            def run(images: Tensor, share: Share) -> tuple[Tensor, Tensor]:
                norms.now = not share.is_all
                with torch.autocast(device.type, dtype, enabled=mixed):
                    logits, features = compiled(images)
                return share.whole(_exact(logits)), share.whole(_exact(features))

            yield run


def _exact(values: Tensor) -> Tensor:
    return values.to(torch.promote_types(values.dtype, torch.float32))
