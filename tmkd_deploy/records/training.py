"""How a training went, and which of its weights were kept; readable without torch."""

from __future__ import annotations

from pydantic import model_validator

from tmkd_deploy.artifacts import Record
from tmkd_deploy.printable import printable
from tmkd_deploy.records.figures import AtLeastOne, NotNegative, Share


class Epoch(Record):
    """One pass over the training images, counted from 1, with their mean `loss`.

    `top1` in [0, 1] and `nll`, the mean negative log-likelihood in nats, are those on the
    validation split at the end of the epoch; None where it was not evaluated. `nll` is None, too,
    where logits were not finite.
    """

    epoch: AtLeastOne
    loss: float
    top1: Share | None = None
    nll: NotNegative | None = None


class TrainingCurve(Record):
    """The epochs of one training, of `planned` ones, and the epoch whose weights were `kept`.

    `best` is the epoch with the highest top-1 on the validation split. `ema_decay` is None if the
    weights were not averaged; otherwise the averaged ones were evaluated and kept.
    """

    epochs: list[Epoch]
    planned: AtLeastOne
    best: AtLeastOne
    kept: AtLeastOne
    ema_decay: Share | None = None

    @model_validator(mode="after")
    def _epochs_were_evaluated(self) -> TrainingCurve:
        evaluated = {each.epoch for each in self.epochs if each.top1 is not None}
        if not {self.best, self.kept} <= evaluated:
            raise ValueError("the best and the kept epoch are no evaluated epochs")
        return self

    @property
    def choice(self) -> str:
        """Which weights were kept and why, in a sentence."""
        top1 = {each.epoch: 100 * (each.top1 or 0.0) for each in self.epochs}
        last = self.epochs[-1].epoch
        ended = f"epoch {last} of {self.planned}"
        if last < self.planned:
            ended = f"epoch {last}, where training stopped early ({self.planned} were planned)"
        weights = "averaged weights" if self.ema_decay else "weights"
        if self.kept == last:
            return f"The {weights} of the last epoch were kept: {ended}."
        return (
            f"The {weights} of epoch {self.kept} were kept, the best on validation images with a "
            f"top-1 of {top1[self.kept]:.1f} %; the last had {top1[last]:.1f} %: {ended}."
        )


def origin(weights: str) -> str:
    """What a training started from, in words; `weights` are a recipe's, but no longer "auto"."""
    if weights == "none":
        return "random weights"
    if weights == "pretrained":
        return "the pretrained weights published for the model"
    if weights == "model":
        return "the weights that the model came with"
    if weights.startswith("package:"):
        return f"the pretrained weights of {weights}"
    return f"the weights file {printable(weights, 60)}"
