"""Synchronised batch normalisation: statistics over the whole batch, across all processes.

torch's SyncBatchNorm supports GPUs only and replaces the modules, which would lose what timm and
the quantizer have added to them.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from tmkd_deploy.training import distributed


@dataclass
class Synchronisation:
    """Whether batch norms synchronise: only for batches that are split over the processes."""

    enabled: bool = False


@contextlib.contextmanager
def synchronised_batch_norms(model: nn.Module) -> Iterator[Synchronisation]:
    """Let the batch norms of `model` use statistics of all processes while `enabled` is set."""
    synchronisation = Synchronisation()
    norms = [module for module in model.modules() if isinstance(module, _BatchNorm)]
    if distributed.world_size() == 1:
        norms = []
    for norm in norms:
        norm.forward = functools.partial(_forward, norm, synchronisation)  # type: ignore[method-assign]
    try:
        yield synchronisation
    finally:
        for norm in norms:
            del norm.forward


@torch.compiler.disable  # type: ignore[untyped-decorator]
def _forward(norm: _BatchNorm, synchronisation: Synchronisation, values: Tensor) -> Tensor:
    if not (norm.training and synchronisation.enabled):
        local: Tensor = type(norm).forward(norm, values)
        return local
    normalised, mean, variance, count = _SyncBatchNorm.apply(
        values, norm.weight, norm.bias, norm.eps
    )
    _update_running_statistics(norm, mean, variance * count / (count - 1))
    # some of timm's batch norms include dropout and an activation
    for name in ("drop", "act"):
        if hasattr(norm, name):
            normalised = getattr(norm, name)(normalised)
    return normalised  # type: ignore[no-any-return]


def _update_running_statistics(norm: _BatchNorm, mean: Tensor, variance: Tensor) -> None:
    """Update running mean and (unbiased) variance as torch does."""
    if norm.running_mean is None or norm.running_var is None:
        return
    if norm.num_batches_tracked is not None:
        norm.num_batches_tracked.add_(1)
    momentum = norm.momentum
    if momentum is None:
        momentum = 1.0 / float(norm.num_batches_tracked or 1)
    norm.running_mean.lerp_(mean.to(norm.running_mean.dtype), momentum)
    norm.running_var.lerp_(variance.to(norm.running_var.dtype), momentum)


class _SyncBatchNorm(torch.autograd.Function):
    """Normalise values [n, C, ...] by their mean and variance over all processes."""

    @staticmethod
    def forward(
        ctx: Any, values: Tensor, weight: Tensor | None, bias: Tensor | None, eps: float
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        exact = values.to(torch.promote_types(values.dtype, torch.float32))
        dims = [0, *range(2, values.ndim)]
        mean = exact.mean(dims)
        squares = (exact - _per_channel(mean, exact)).square().sum(dims)
        count = mean.new_tensor([values.numel() / values.shape[1]])
        gathered = mean.new_zeros(distributed.world_size(), 1 + 2 * len(mean))
        gathered[distributed.rank()] = torch.cat([count, mean, squares])
        dist.all_reduce(gathered)
        counts, means, squaress = torch.split(gathered, [1, len(mean), len(mean)], dim=1)
        total = counts.sum()
        mean = (counts * means).sum(dim=0) / total
        # parallel variance, Chan et al. 1979, "Updating formulae and a pairwise algorithm"
        variance = (squaress + counts * (means - mean).square()).sum(dim=0) / total
        ctx.save_for_backward(values, weight, mean, torch.rsqrt(variance + eps), total)
        ctx.mark_non_differentiable(mean, variance, total)
        normalised = F.batch_norm(values, mean, variance, weight, bias, False, 0.0, eps)
        return normalised, mean, variance, total

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor | None, Tensor | None, None]:
        values, weight, mean, inverse, total = ctx.saved_tensors
        gradient = gradients[0].to(mean.dtype)
        dims = [0, *range(2, values.ndim)]
        centred = (values.to(mean.dtype) - _per_channel(mean, values)) * _per_channel(
            inverse, values
        )
        local = torch.stack([gradient.sum(dims), (gradient * centred).sum(dims)])
        sums = local.clone()
        dist.all_reduce(sums)
        mean_gradient, mean_product = sums / total
        inner = (
            gradient
            - _per_channel(mean_gradient, values)
            - centred * _per_channel(mean_product, values)
        )
        factor = inverse if weight is None else inverse * weight
        for_values = (inner * _per_channel(factor, values)).to(values.dtype)
        if weight is None:
            return for_values, None, None, None
        return for_values, local[1].to(weight.dtype), local[0].to(weight.dtype), None


def _per_channel(channels: Tensor, values: Tensor) -> Tensor:
    return channels.view(1, -1, *[1] * (values.ndim - 2))
