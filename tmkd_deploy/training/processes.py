"""Several processes that train one model together, and the share of each in a batch.

Every process computes the loss of the whole batch: each runs the model on its own rows, and outputs
are gathered before the loss. So whatever a loss compares across a batch (correlations within a
class, negatives, means over uneven shares) is exactly what one process would compute. Gradients are
then averaged, because every process differentiates that same loss.
"""

from __future__ import annotations

import contextlib
import datetime
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.rendezvous import rendezvous

from tmkd_deploy.errors import EnvironmentProblem

# the others wait while the first process works alone, however long that takes
_PATIENCE = datetime.timedelta(days=7)


class Store(Protocol):
    """Numbers that all processes can read and change."""

    def add(self, key: str, amount: int, /) -> int:
        """Add to the number under `key`, which is 0 at first; the sum."""


def world() -> int:
    """How many processes train together; 1 outside `joined`."""
    return dist.get_world_size() if dist.is_initialized() else 1


def rank() -> int:
    """The number of this process, from 0; the process 0 keeps the run folder."""
    return dist.get_rank() if dist.is_initialized() else 0


def training_device() -> torch.device:
    """This process's GPU where there is one, otherwise the CPU."""
    if not torch.cuda.is_available() or os.environ.get("ACCELERATE_USE_CPU", "").lower() == "true":
        return torch.device("cpu")
    if world() == 1:
        return torch.device("cuda")
    return torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))


@contextlib.contextmanager
def joined() -> Iterator[Store]:
    """Join the processes that torchrun started; leave them at the end.

    Tensors on the CPU travel by gloo and those on GPUs by NCCL. The store is what all processes can
    read and write, until the last of them has ended.

    Raises:
        EnvironmentProblem: they cannot be reached, or there are more of them than GPUs.
    """
    try:
        store, number, size = next(iter(rendezvous("env://", timeout=_PATIENCE)))
        device = training_device()
        if device.type == "cuda":
            local = int(os.environ.get("LOCAL_RANK", "0"))
            if local >= torch.cuda.device_count():
                raise EnvironmentProblem(
                    f"Process {local} of this machine has no GPU of its own: there are "
                    f"{torch.cuda.device_count()}.",
                    advice="Start one process for each GPU.",
                )
            torch.cuda.set_device(local)
        dist.init_process_group(
            "cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo",
            store=store,
            rank=number,
            world_size=size,
            timeout=_PATIENCE,
        )
    except (RuntimeError, ValueError) as error:
        raise EnvironmentProblem(
            f"The other processes could not be reached: {str(error).splitlines()[0]}",
            advice="Start all of them with torchrun.",
        ) from error
    try:
        yield store
    finally:
        dist.destroy_process_group()


@dataclass(frozen=True)
class Share:
    """The rows `rows` of a batch of `total` images that this process runs.

    A batch with fewer images than processes is not shared out: every process runs all of it
    (`is_all`), because a model cannot be run on no image.
    """

    total: int
    rows: slice
    is_all: bool

    @classmethod
    def of(cls, total: int) -> Share:
        """This process's share of a batch of `total` images."""
        if world() == 1 or total < world():
            return cls(total, slice(0, total), True)
        begin, end = (total * (rank() + more) // world() for more in (0, 1))
        return cls(total, slice(begin, end), False)

    def whole(self, own: Tensor) -> Tensor:
        """The rows [total, ...] of all processes, from this one's [n, ...]; differentiable."""
        if self.is_all:
            return own
        gathered: Tensor = _Gather.apply(own, self)
        return gathered


class _Gather(torch.autograd.Function):
    """All rows from each process's own, summed with zeros, which works for uneven shares."""

    @staticmethod
    def forward(ctx: Any, own: Tensor, share: Share) -> Tensor:
        ctx.rows = share.rows
        every = own.new_zeros((share.total, *own.shape[1:]))
        every[share.rows] = own
        dist.all_reduce(every)
        return every

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        total = gradients[0].clone(memory_format=torch.contiguous_format)
        dist.all_reduce(total)
        return total[ctx.rows], None


def average_gradients(parameters: Sequence[nn.Parameter]) -> None:
    """Give every process the mean of all their gradients; nothing to do for one process."""
    if world() == 1:
        return
    gradients = [each.grad for each in parameters if each.grad is not None]
    flat = torch.cat([each.flatten() for each in gradients])
    dist.all_reduce(flat)
    flat /= world()
    means = torch.split(flat, [each.numel() for each in gradients])
    for gradient, mean in zip(gradients, means, strict=True):
        gradient.copy_(mean.view(gradient.shape))


def from_first(values: Sequence[Tensor]) -> None:
    """Overwrite these tensors with those of process 0."""
    if world() > 1:
        for value in values:
            dist.broadcast(value.detach(), src=0)


def agree_on(number: int, what: str) -> None:
    """Make sure that all processes have the same number.

    Raises:
        EnvironmentProblem: this one has another than process 0.
    """
    first = torch.tensor(number)
    from_first([first])
    if int(first) != number:
        raise EnvironmentProblem(
            f"The processes do not agree on {what}: process 0 has {int(first)} and process "
            f"{rank()} has {number}.",
            advice="Put the run folder on a disk that all machines share.",
        )
