"""An exponential moving average of a model's weights."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import get_ema_multi_avg_fn


def floats_of(modules: Sequence[nn.Module]) -> list[Tensor]:
    """The floating-point parameters and buffers of `modules`, sharing their memory."""
    state = (tensor for module in modules for tensor in module.state_dict().values())
    return [tensor for tensor in state if tensor.is_floating_point()]


@torch.no_grad()
def copy_into(live: Sequence[Tensor], values: Sequence[Tensor]) -> None:
    """Overwrite `live` with `values`, which may be on another device.

    Raises:
        ValueError: their number differs.
        RuntimeError: a shape differs.
    """
    for tensor, value in zip(live, values, strict=True):
        tensor.copy_(value)


class MovingAverage:
    """The average of `live` tensors over the steps of a training.

    The decay of step t, counted from 1, is min(decay, (1 + t) / (10 + t)), as in TensorFlow's
    ExponentialMovingAverage: a short training averages over about its last tenth. Running
    statistics of batch norms are averaged like weights, as timm does.
    """

    def __init__(self, live: Sequence[Tensor], decay: float) -> None:
        self.values = [tensor.clone() for tensor in live]
        self._live = list(live)
        self._decay = decay

    def update(self, step: int) -> None:
        """Take in the weights after step `step`, counted from 1."""
        decay = min(self._decay, (1 + step) / (10 + step))
        average = get_ema_multi_avg_fn(decay)  # type: ignore[no-untyped-call]
        average(self.values, self._live, None)

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Put the averages into the model for the time of a `with` block."""
        raw = [tensor.clone() for tensor in self._live]
        copy_into(self._live, self.values)
        try:
            yield
        finally:
            copy_into(self._live, raw)
