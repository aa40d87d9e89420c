"""The validation of a training at the end of its epochs, and the choice of the weights to keep."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tmkd_deploy.proportions import paired_change_interval
from tmkd_deploy.records.training import Epoch, TrainingCurve
from tmkd_deploy.training import distributed
from tmkd_deploy.training.moving_average import MovingAverage, copy_into, floats_of
from tmkd_deploy.training.predict import predict

# A forward pass takes a third of a training step, so evaluating an image for every 0.3 training
# images takes a tenth of the time. Counting images instead of seconds keeps results reproducible.
_IMAGES_PER_TRAINING_IMAGE = 0.3


class KeepSettings(Protocol):
    """Which weights to keep; the recipe describes each key, in `teacher.visual` and `distill`."""

    @property
    def keep(self) -> Literal["auto", "best", "last"]:
        """The epoch whose weights are kept."""

    @property
    def patience(self) -> int | None:
        """Epochs without a better one before training stops."""

    @property
    def ema_decay(self) -> float | None:
        """Decay of the moving average of the weights."""


@dataclass(frozen=True)
class Validation:
    """A `model`, which returns logits and features, and the validation split it is evaluated on.

    `images` are uint8 [N, H, W, 3], `labels` int64 [N].
    """

    model: nn.Module
    images: np.ndarray | Tensor
    labels: np.ndarray
    settings: KeepSettings

    def interval(self, training_images: int) -> int:
        """The number of epochs from one evaluation to the next."""
        return max(1, math.ceil(len(self.labels) / (_IMAGES_PER_TRAINING_IMAGE * training_images)))

    def score(self, epoch: int, device: torch.device) -> Score:
        """How the model does after `epoch`, the same in every process."""
        logits = predict(self.model, self.images, device)
        labels = torch.from_numpy(np.asarray(self.labels))
        finite = bool(torch.isfinite(logits).all())
        right = (logits.argmax(dim=1) == labels) & finite
        nll = F.cross_entropy(logits.double(), labels) if finite else torch.tensor(math.inf)
        outcome = torch.cat([right.double(), nll.double().view(1)])
        distributed.broadcast([outcome])  # rounding must not make two processes decide differently
        return Score(epoch, outcome[:-1].bool(), float(outcome[-1]))


@dataclass(frozen=True)
class Score:
    """The model after `epoch`, counted from 1: which of N validation images are `right` (bool [N]).

    `nll` is the mean negative log-likelihood in nats, infinite if a logit is not finite.
    """

    epoch: int
    right: Tensor
    nll: float

    @property
    def top1(self) -> float:
        """In [0, 1]."""
        return float(self.right.double().mean())

    def is_as_good_as(self, other: Score) -> bool:
        """Whether its top-1 is higher, or equal with no higher `nll`."""
        return (self.top1, -self.nll) >= (other.top1, -other.nll)

    def is_significantly_worse_than(self, other: Score) -> bool:
        """Whether the whole 95 % interval of the change in top-1 from `other` lies below zero."""
        gained = int((self.right & ~other.right).sum())
        lost = int((other.right & ~self.right).sum())
        return paired_change_interval(gained, lost, len(self.right))[1] < 0


class BestEpoch:
    """The scores of one running training, the average of its weights, and those of its best epoch.

    `modules` are everything that is kept: the model and what is trained with it.
    """

    def __init__(
        self,
        validation: Validation,
        modules: Sequence[nn.Module],
        training_images: int,
        epochs: int,
        device: torch.device,
    ) -> None:
        self._validation = validation
        self._settings = validation.settings
        self._interval = validation.interval(training_images)
        self._epochs = epochs
        self._device = device
        self._live = floats_of(modules)
        decay = self._settings.ema_decay
        self._average = MovingAverage(self._live, decay) if decay else None
        self._losses, self._images = 0.0, 0
        self._points: list[Epoch] = []
        self._best: Score | None = None
        self._last: Score | None = None
        self._best_weights: list[Tensor] = []

    @property
    def stops(self) -> bool:
        """Whether training ends now, because no epoch was better for `patience` epochs."""
        if self._settings.patience is None or not (self._best and self._last):
            return False
        return self._last.epoch - self._best.epoch >= self._settings.patience

    def add_loss(self, images: int, loss: float) -> None:
        """Count the mean loss of a batch of `images` towards the epoch's."""
        self._losses += images * loss
        self._images += images

    def after_step(self, step: int) -> None:
        """Take the weights after step `step`, counted from 1, into the average."""
        if self._average:
            self._average.update(step)

    def after_epoch(self, epoch: int) -> Epoch:
        """Evaluate if it is time to, and keep the weights if they are the best so far.

        `epoch` counts from 1.
        """
        score = None
        if epoch % self._interval == 0 or epoch == self._epochs:
            score = self._evaluated(epoch)
        point = Epoch(
            epoch=epoch,
            loss=self._losses / max(self._images, 1),
            top1=score.top1 if score else None,
            nll=score.nll if score and math.isfinite(score.nll) else None,
        )
        self._losses, self._images = 0.0, 0
        self._points.append(point)
        return point

    def finish(self) -> TrainingCurve | None:
        """Put the chosen weights into the modules; None if there was no epoch."""
        if self._best is None or self._last is None:
            return None
        kept = self._chosen(self._best, self._last)
        if kept is self._best and kept.epoch != self._last.epoch:
            copy_into(self._live, self._best_weights)
        elif self._average:
            copy_into(self._live, self._average.values)
        return TrainingCurve(
            epochs=self._points,
            planned=self._epochs,
            best=self._best.epoch,
            kept=kept.epoch,
            ema_decay=self._settings.ema_decay,
        )

    def state(self) -> dict[str, Any]:
        """The state to save in a checkpoint: tensors and plain values."""
        return {
            "points": [point.model_dump() for point in self._points],
            "loss": [self._losses, self._images],
            "scores": [
                None if score is None else [score.epoch, score.right, score.nll]
                for score in (self._best, self._last)
            ],
            "best_weights": self._best_weights,
            "average": self._average.values if self._average else [],
        }

    def load_state(self, state: dict[str, Any]) -> None:
        """Restore a saved state.

        Raises:
            ValueError, RuntimeError, KeyError: it belongs to another model.
        """
        self._points = [Epoch.model_validate(point) for point in state["points"]]
        self._losses, self._images = state["loss"]
        self._best, self._last = (
            None if each is None else Score(*each) for each in state["scores"]
        )
        self._best_weights = state["best_weights"]
        if self._average:
            copy_into(self._average.values, state["average"])

    def _evaluated(self, epoch: int) -> Score:
        with self._average.applied() if self._average else contextlib.nullcontext():
            score = self._last = self._validation.score(epoch, self._device)
            if self._best is None or score.is_as_good_as(self._best):
                self._best = score
                if self._settings.keep != "last":
                    self._best_weights = [tensor.to("cpu", copy=True) for tensor in self._live]
        return score

    def _chosen(self, best: Score, last: Score) -> Score:
        """By `keep`; 'auto' gives up the last epoch only if it was cut short or is worse.

        The highest of many noisy figures is mostly luck, and the last epoch has the lowest learning
        rate, so on a small validation split the last one is the better guess.
        """
        if self._settings.keep == "last":
            return last
        cut_short = last.epoch < self._epochs
        if self._settings.keep == "best" or cut_short or last.is_significantly_worse_than(best):
            return best
        return last
