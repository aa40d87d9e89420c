"""Batch norms whose statistics are those of the whole batch, whichever process holds its images.

torch's SyncBatchNorm does this on GPUs alone and would replace the modules, which timm and the
quantizer have given more to do than normalise.
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

from tmkd_deploy.training import processes


@dataclass
class Sharing:
    """Whether the images of the present batch are shared out among the processes."""

    now: bool = False


@contextlib.contextmanager
def shared_norms(model: nn.Module) -> Iterator[Sharing]:
    """Let the batch norms of `model` take statistics over all processes while `now` is set."""
    sharing = Sharing()
    norms = [module for module in model.modules() if isinstance(module, _BatchNorm)]
    if processes.world() == 1:
        norms = []
    for norm in norms:
        norm.forward = functools.partial(_forward, norm, sharing)  # type: ignore[method-assign]
    try:
        yield sharing
    finally:
        for norm in norms:
            del norm.forward


@torch.compiler.disable  # type: ignore[untyped-decorator]
def _forward(norm: _BatchNorm, sharing: Sharing, values: Tensor) -> Tensor:
    if not (norm.training and sharing.now):
        own: Tensor = type(norm).forward(norm, values)
        return own
    normalised, mean, variance, count = _SharedNorm.apply(values, norm.weight, norm.bias, norm.eps)
    _remember(norm, mean, variance * count / (count - 1))
    # timm puts an activation into some batch norms
    for name in ("drop", "act"):
        if hasattr(norm, name):
            normalised = getattr(norm, name)(normalised)
    return normalised  # type: ignore[no-any-return]


def _remember(norm: _BatchNorm, mean: Tensor, variance: Tensor) -> None:
    """Update the running statistics as torch does, with the unbiased variance."""
    if norm.running_mean is None or norm.running_var is None:
        return
    if norm.num_batches_tracked is not None:
        norm.num_batches_tracked.add_(1)
    momentum = norm.momentum
    if momentum is None:
        momentum = 1.0 / float(norm.num_batches_tracked or 1)
    norm.running_mean.lerp_(mean.to(norm.running_mean.dtype), momentum)
    norm.running_var.lerp_(variance.to(norm.running_var.dtype), momentum)


class _SharedNorm(torch.autograd.Function):
    """Normalise [n, C, ...] by the mean and variance over all processes' values."""

    @staticmethod
    def forward(
        ctx: Any, values: Tensor, weight: Tensor | None, bias: Tensor | None, eps: float
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        exact = values.to(torch.promote_types(values.dtype, torch.float32))
        dims = [0, *range(2, values.ndim)]
        mean = exact.mean(dims)
        spread = (exact - _across(mean, exact)).square().sum(dims)
        count = mean.new_tensor([values.numel() / values.shape[1]])
        every = mean.new_zeros(processes.world(), 1 + 2 * len(mean))
        every[processes.rank()] = torch.cat([count, mean, spread])
        dist.all_reduce(every)
        counts, means, spreads = torch.split(every, [1, len(mean), len(mean)], dim=1)
        total = counts.sum()
        mean = (counts * means).sum(dim=0) / total
        # the variance of parts, by the parallel formula of Chan et al. 1979
        variance = (spreads + counts * (means - mean).square()).sum(dim=0) / total
        ctx.save_for_backward(values, weight, mean, torch.rsqrt(variance + eps), total)
        ctx.mark_non_differentiable(mean, variance, total)
        normalised = F.batch_norm(values, mean, variance, weight, bias, False, 0.0, eps)
        return normalised, mean, variance, total

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor | None, Tensor | None, None]:
        values, weight, mean, inverse, total = ctx.saved_tensors
        gradient = gradients[0].to(mean.dtype)
        dims = [0, *range(2, values.ndim)]
        centred = (values.to(mean.dtype) - _across(mean, values)) * _across(inverse, values)
        own = torch.stack([gradient.sum(dims), (gradient * centred).sum(dims)])
        sums = own.clone()
        dist.all_reduce(sums)
        plain, along = sums / total
        inner = gradient - _across(plain, values) - centred * _across(along, values)
        factor = inverse if weight is None else inverse * weight
        for_values = (inner * _across(factor, values)).to(values.dtype)
        if weight is None:
            return for_values, None, None, None
        return for_values, own[1].to(weight.dtype), own[0].to(weight.dtype), None


def _across(channels: Tensor, values: Tensor) -> Tensor:
    return channels.view(1, -1, *[1] * (values.ndim - 2))
