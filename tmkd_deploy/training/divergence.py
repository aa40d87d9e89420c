"""Noticing that a training has failed: a loss or gradient that is no number, or an exploding loss.

The loss has exploded when the median of the last 20 losses is more than 20 times the median of the
first 20, or of 1 where that is less. A single bad batch does not count, nor does noise about a loss
near zero; a schedule that raises the teachers' weights stays far below.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from tmkd_deploy.errors import RequestError

_WINDOW = 20
_FACTOR = 20.0
ADVICE = "Lower the learning rate of this stage in the recipe."


@dataclass(frozen=True)
class StepResult:
    """What one step came to: tensors that may still be on their way from the device."""

    number: int
    epoch: int
    images: int
    loss: Tensor
    gradient: Tensor | None
    terms: Mapping[str, Tensor]

    def values(self) -> tuple[float, dict[str, float]]:
        """The loss and its terms as numbers."""
        return float(self.loss), {name: float(term) for name, term in self.terms.items()}


class DivergenceDetector:
    """Looks at every step's loss and gradient.

    A look at a GPU's numbers waits for the GPU, so there steps are looked at `_WINDOW` at a time;
    on a CPU each is, before it changes a weight.
    """

    def __init__(self, description: str, steps: int, device: torch.device) -> None:
        self._description = description
        self._steps = steps
        self._every = _WINDOW if device.type == "cuda" else 1
        self._unseen: list[StepResult] = []
        self._first: list[float] = []
        self._last: list[float] = []

    def see(self, seen: StepResult) -> list[StepResult]:
        """Take one step; the steps that were looked at now, which may be none."""
        self._unseen.append(seen)
        return self.look() if len(self._unseen) >= self._every else []

    def look(self) -> list[StepResult]:
        """Look at what was not looked at yet.

        Raises:
            RequestError: the training has failed; the step is named.
        """
        looked, self._unseen = self._unseen, []
        for seen in looked:
            self._judge(seen)
        return looked

    def state(self) -> dict[str, Any]:
        """What to keep in a checkpoint."""
        return {"first": self._first, "last": self._last}

    def resume(self, state: dict[str, Any]) -> None:
        """Go on from what was kept."""
        self._first, self._last = list(state["first"]), list(state["last"])

    def _judge(self, seen: StepResult) -> None:
        loss, terms = seen.values()
        if not math.isfinite(loss):
            faulty = [name for name, term in terms.items() if not math.isfinite(term)]
            names = f" (its term {', '.join(faulty)})" if faulty else ""
            raise self._failed(seen, f"The loss became {loss}{names}")
        if seen.gradient is not None and not math.isfinite(float(seen.gradient)):
            raise self._failed(seen, f"The gradient of the loss became {float(seen.gradient)}")
        if len(self._first) < _WINDOW:
            self._first.append(loss)
        self._last = [*self._last[1 - _WINDOW :], loss]
        limit = _FACTOR * max(1.0, statistics.median(self._first))
        if len(self._last) == _WINDOW and statistics.median(self._last) > limit:
            raise self._failed(
                seen,
                f"The loss exploded to {loss:.4g}, from {statistics.median(self._first):.4g} in "
                f"the first {_WINDOW} steps,",
            )

    def _failed(self, seen: StepResult, what: str) -> RequestError:
        return RequestError(
            f"{what} in epoch {seen.epoch + 1} of {self._description!r}, at step "
            f"{seen.number + 1} of {self._steps}.",
            advice=ADVICE,
        )
