"""One training step as the loss sees it, and the preparation of its batch."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from tmkd_deploy.training.batches import Batch
from tmkd_deploy.training.distributed import BatchShard


@dataclass(frozen=True)
class Step:
    """What a loss function receives.

    `indices` [total] are the images of the whole batch and `shard` the rows of it that this process
    runs; `random` yields the same numbers in every process. `batch` is what `prepare` returned for
    the step.
    """

    epoch: int
    indices: Tensor
    random: torch.Generator
    number: int
    shard: BatchShard
    batch: Batch | None = None


def batch_of(step: Step) -> Batch:
    """The batch of a prepared step."""
    if step.batch is None:
        raise AssertionError("fit was called without `prepare`")
    return step.batch


def prepared(
    steps: Iterator[Step], prepare: Callable[[Step], Batch] | None, device: torch.device
) -> Generator[Step, None, None]:
    """The steps with their batches.

    For a GPU the next batch is prepared in a thread while the GPU runs the current step. On a CPU
    such a thread would only compete with the step for cores.
    """
    if prepare is None:
        yield from steps
    elif device.type == "cuda":
        yield from _prefetched(steps, prepare)
    else:
        yield from (replace(step, batch=prepare(step)) for step in steps)


def _prefetched(
    steps: Iterator[Step], prepare: Callable[[Step], Batch]
) -> Generator[Step, None, None]:
    def with_batch(step: Step) -> Step:
        return replace(step, batch=prepare(step))

    pending: Future[Step] | None = None
    with ThreadPoolExecutor(1) as thread:
        for step in steps:
            submitted = thread.submit(with_batch, step)
            if pending is not None:
                yield pending.result()
            pending = submitted
        if pending is not None:
            yield pending.result()
