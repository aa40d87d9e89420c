"""Distributed training: the process group, and each process's shard of a batch.

Every process computes the loss of the whole batch: it runs the model on its own rows, and outputs
are gathered before the loss. Whatever a loss compares across a batch (correlations within a class,
negatives, means over uneven shards) is therefore exactly what a single process would compute.
Since every process differentiates that same loss, gradients are averaged afterwards.
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

# for what all processes do at the same time; without it, a lost process would hang the others
_TIMEOUT = datetime.timedelta(minutes=15)
# the other processes wait while rank 0 works on its own, however long that takes
_PATIENCE = datetime.timedelta(days=7)

_patient: dist.ProcessGroup | None = None


class Store(Protocol):
    """The key-value store that all processes share."""

    def add(self, key: str, amount: int, /) -> int:
        """Add to the number under `key`, initially 0, and return the sum."""


def world_size() -> int:
    """The number of processes that train together; 1 outside `join_process_group`."""
    return dist.get_world_size() if dist.is_initialized() else 1


def rank() -> int:
    """The rank of this process, from 0; rank 0 owns the run folder."""
    return dist.get_rank() if dist.is_initialized() else 0


def training_device() -> torch.device:
    """This process's GPU if there is one, otherwise the CPU.

    A launcher that shows each process a GPU of its own, as Slurm can, numbers each of them 0.

    Raises:
        EnvironmentProblem: the processes of this machine outnumber its GPUs.
    """
    if not torch.cuda.is_available() or os.environ.get("ACCELERATE_USE_CPU", "").lower() == "true":
        return torch.device("cpu")
    if world_size() == 1:
        return torch.device("cuda")
    number, gpus = int(os.environ.get("LOCAL_RANK", "0")), torch.cuda.device_count()
    if gpus == 1 and "SLURM_LOCALID" in os.environ:
        return torch.device("cuda", 0)
    if number >= gpus:
        raise EnvironmentProblem(
            f"There is no GPU for process {number} of this machine, which has {gpus}.",
            advice="Start one process per GPU.",
        )
    return torch.device("cuda", number)


@contextlib.contextmanager
def join_process_group() -> Iterator[Store]:
    """Join the processes that torchrun started, and leave them at the end.

    CPU tensors are exchanged over gloo, GPU tensors over NCCL. The store works until the last of
    the processes has ended.

    Raises:
        EnvironmentProblem: the processes cannot be reached, or outnumber the GPUs.
    """
    global _patient  # noqa: PLW0603 - as the default group is torch's
    try:
        store, number, size = next(iter(rendezvous("env://", timeout=_TIMEOUT)))
        device = training_device()
        if device.type == "cuda":
            torch.cuda.set_device(device)
        dist.init_process_group(
            "cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo",
            store=store,
            rank=number,
            world_size=size,
            timeout=_TIMEOUT,
        )
        patient = dist.new_group(backend="gloo", timeout=_PATIENCE)
        _patient = patient if isinstance(patient, dist.ProcessGroup) else None
    except (RuntimeError, ValueError) as error:
        raise EnvironmentProblem(
            f"Cannot connect to the other processes: {str(error).splitlines()[0]}",
            advice="Start all of them with torchrun.",
        ) from error
    try:
        yield store
    finally:
        _patient = None
        dist.destroy_process_group()


@dataclass(frozen=True)
class BatchShard:
    """The rows `rows` of a batch of `total` images that this process runs.

    A batch with fewer images than processes is not split (`is_replicated`): every process runs all
    of it, because a model cannot run on an empty batch.
    """

    total: int
    rows: slice
    is_replicated: bool

    @classmethod
    def of(cls, total: int) -> BatchShard:
        """This process's shard of a batch of `total` images."""
        if world_size() == 1 or total < world_size():
            return cls(total, slice(0, total), True)
        start, end = (total * (rank() + offset) // world_size() for offset in (0, 1))
        return cls(total, slice(start, end), False)

    def gather(self, local: Tensor) -> Tensor:
        """The rows [total, ...] of all processes, given this one's [n, ...]; differentiable."""
        if self.is_replicated:
            return local
        gathered: Tensor = _AllGather.apply(local, self)
        return gathered


class _AllGather(torch.autograd.Function):
    """All-gather as a sum of zero-padded tensors, which supports uneven shards."""

    @staticmethod
    def forward(ctx: Any, local: Tensor, shard: BatchShard) -> Tensor:
        ctx.rows = shard.rows
        gathered = local.new_zeros((shard.total, *local.shape[1:]))
        gathered[shard.rows] = local
        dist.all_reduce(gathered)
        return gathered

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        total = gradients[0].clone(memory_format=torch.contiguous_format)
        dist.all_reduce(total)
        return total[ctx.rows], None


def average_gradients(parameters: Sequence[nn.Parameter]) -> None:
    """Replace every gradient by its mean over all processes."""
    if world_size() == 1:
        return
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    flat = torch.cat([gradient.flatten() for gradient in gradients])
    dist.all_reduce(flat)
    flat /= world_size()
    means = torch.split(flat, [gradient.numel() for gradient in gradients])
    for gradient, mean in zip(gradients, means, strict=True):
        gradient.copy_(mean.view(gradient.shape))


def broadcast(tensors: Sequence[Tensor]) -> None:
    """Overwrite these tensors with those of rank 0."""
    if world_size() > 1:
        for tensor in tensors:
            dist.broadcast(tensor.detach(), src=0)


def in_any_process(flag: bool) -> bool:
    """Whether `flag` is set in any process; all of them have to ask at the same time."""
    if world_size() == 1:
        return flag
    found = torch.tensor(int(flag))
    dist.all_reduce(found, dist.ReduceOp.MAX)
    return bool(found)


def answer_of_first(answer: bool | None) -> bool:
    """What rank 0 answers; the other processes pass None and wait for as long as it takes."""
    found = torch.tensor(int(bool(answer)))
    dist.broadcast(found, src=0, group=_patient)
    return bool(found)


def require_same(number: int, what: str) -> None:
    """Check that all processes have the same number.

    Raises:
        EnvironmentProblem: this process's number differs from that of rank 0.
    """
    first = torch.tensor(number)
    broadcast([first])
    if int(first) != number:
        raise EnvironmentProblem(
            f"The processes disagree on {what}: rank 0 has {int(first)}, rank {rank()} has "
            f"{number}.",
            advice="Put the run folder on a disk that all machines share.",
        )
