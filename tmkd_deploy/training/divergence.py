"""Detecting a failed training: a loss or gradient that is not finite, or an exploding loss.

The loss counts as exploded when the median of the last 20 losses exceeds 20 times the median of the
first 20, or 20 if that is larger. A single bad batch or noise around a loss near zero does not
trigger it, and a warm-up of the teacher terms stays far below the limit.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from tmkd_deploy.errors import RequestError

_WINDOW = 20
_FACTOR = 20.0
ADVICE = "Lower the learning rate of this stage in the recipe."


@dataclass(frozen=True)
class StepResult:
    """The result of one step; its tensors may still be pending on the device."""

    number: int
    epoch: int
    images: int
    loss: Tensor
    gradient: Tensor | None
    terms: Mapping[str, Tensor]

    def values(self) -> tuple[float, dict[str, float]]:
        """The loss and its terms as numbers; a GPU is waited for once."""
        loss, *terms = torch.stack([self.loss, *self.terms.values()]).tolist()
        return loss, dict(zip(self.terms, terms, strict=True))


class DivergenceDetector:
    """Checks the loss and gradient of every step.

    Reading values from a GPU synchronises with it, so there steps are checked `_WINDOW` at a time.
    On a CPU each step is checked before it updates the weights.
    """

    def __init__(self, description: str, steps: int, device: torch.device) -> None:
        self._description = description
        self._steps = steps
        self._interval = _WINDOW if device.type == "cuda" else 1
        self._pending: list[StepResult] = []
        self._first: list[float] = []
        self._last: list[float] = []

    def update(self, result: StepResult) -> list[StepResult]:
        """Add one step and return the steps checked by this call, possibly none.

        Raises:
            RequestError: the training has failed; the message names the step.
        """
        self._pending.append(result)
        return self.check() if len(self._pending) >= self._interval else []

    def check(self) -> list[StepResult]:
        """Check all pending steps and return them.

        Raises:
            RequestError: the training has failed; the message names the step.
        """
        checked, self._pending = self._pending, []
        for result in checked:
            self._check_step(result)
        return checked

    def state(self) -> dict[str, list[float]]:
        """The state to save in a checkpoint."""
        return {"first": self._first, "last": self._last}

    def load_state(self, state: Mapping[str, Sequence[float]]) -> None:
        """Restore a saved state."""
        self._first, self._last = list(state["first"]), list(state["last"])

    def _check_step(self, result: StepResult) -> None:
        loss, terms = result.values()
        if not math.isfinite(loss):
            faulty = [name for name, term in terms.items() if not math.isfinite(term)]
            names = f" (term {', '.join(faulty)})" if faulty else ""
            raise self._failed(result, f"The loss became {loss}{names}")
        if result.gradient is not None and not math.isfinite(float(result.gradient)):
            raise self._failed(result, f"The gradient norm became {float(result.gradient)}")
        if len(self._first) < _WINDOW:
            self._first.append(loss)
        self._last = [*self._last[1 - _WINDOW :], loss]
        limit = _FACTOR * max(1.0, statistics.median(self._first))
        if len(self._last) == _WINDOW and statistics.median(self._last) > limit:
            raise self._failed(
                result,
                f"The loss exploded to {loss:.4g}, from a median of "
                f"{statistics.median(self._first):.4g} over the first {_WINDOW} steps,",
            )

    def _failed(self, result: StepResult, what: str) -> RequestError:
        return RequestError(
            f"{what} in epoch {result.epoch + 1} of {self._description!r}, at step "
            f"{result.number + 1} of {self._steps}.",
            advice=ADVICE,
        )
