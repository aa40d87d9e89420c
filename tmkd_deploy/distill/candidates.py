"""Comparing trained models on the validation split, where everything is chosen."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Generic, Literal, TypeVar

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from tmkd_deploy.data.prepared import PreparedData
from tmkd_deploy.distill.likelihood import image_nll
from tmkd_deploy.proportions import (
    mcnemar_p_value,
    p_value_text,
    paired_change_interval,
    share_interval,
)
from tmkd_deploy.records.candidates import Candidate, Gain
from tmkd_deploy.records.logits import Logits
from tmkd_deploy.records.measurements import SIGNIFICANT
from tmkd_deploy.training.distributed import training_device
from tmkd_deploy.training.predict import predict

_LABELS = {
    "distilled": "the distilled student",
    "baseline": "the student trained without teachers",
    "fine_tuned": "the fine-tuned student",
    "calibrated": "the calibrated student",
}
Name = TypeVar("Name", bound=str)


@dataclass(frozen=True)
class Validated:
    """A model's results on the N validation images: `right` is bool [N].

    `chance` is the top-1 of guessing classes as often as the model predicts them: the agreement
    that Cohen (1960) expects by chance.
    """

    candidate: Candidate
    right: npt.NDArray[np.bool_]
    chance: float


def validate(model: nn.Module, data: PreparedData, of: str) -> Validated:
    """Run a model on the validation split, on the training device; `of` names it in errors.

    Raises:
        LogitsError: its logits are not finite.
    """
    device = training_device()
    return judge(predict(model.to(device), data.images("val"), device).numpy(), data, of)


def judge(found: npt.NDArray[np.float32], data: PreparedData, of: str) -> Validated:
    """The results that logits [N, C] of the validation split are; `of` names the model in errors.

    Raises:
        LogitsError: they are not finite.
    """
    classes, labels = len(data.class_names), data.labels("val")
    logits = Logits([found], of=of, images=data.keys("val"), classes=classes)
    right = logits.predictions == labels
    nll = float(image_nll(torch.tensor(logits.values), torch.tensor(labels)).mean())
    frequencies = [np.bincount(each, minlength=classes) for each in (labels, logits.predictions)]
    return Validated(
        Candidate(top1=float(right.mean()), nll=nll),
        right,
        float(np.prod(frequencies, axis=0, dtype=float).sum() / len(labels) ** 2),
    )


def gain_over(origin: Validated, model: Validated) -> Gain:
    """What `model` has over `origin` on the same images."""
    gained = int((model.right & ~origin.right).sum())
    lost = int((origin.right & ~model.right).sum())
    images = len(model.right)
    low, high = paired_change_interval(gained, lost, images)
    return Gain(
        images=images,
        points=100 * (gained - lost) / images,
        interval=(100 * low, 100 * high),
        p_value=mcnemar_p_value(gained, lost),
    )


@dataclass(frozen=True)
class Step(Generic[Name]):
    """What leads from one candidate, `origin`, to another, `derived`.

    `change` names it at the head of a sentence, `over` the origin where `change` does not imply it,
    and `key` is the recipe's on which of the two ships.
    """

    change: str
    origin: Name
    derived: Name
    key: str
    over: str = ""

    def choose(self, gain: Gain, wanted: Name | Literal["best"]) -> tuple[Name, str]:
        """The candidate that ships, and why in one sentence.

        The derived one is given up only for a loss beyond chance: on a hundred validation images a
        difference of a few points decides nothing, and over data sets both steps gain on average.
        """
        lost = gain.interval[1] < 0
        ships = self.origin if lost else self.derived
        chance = ", which is within chance" if gain.points < 0 and not lost else ""
        said = f"{self.change} {_amount(gain)}{self.over} on {gain.images} validation images"
        if wanted != "best":
            ships = self.derived if wanted == self.derived else self.origin
            return ships, f"{said}; {_LABELS[ships]} ships because the recipe insists ({self.key})."
        return ships, f"{said}{chance}; {_LABELS[ships]} ships."


def near_chance(of: str, model: Validated, when: str = "") -> str | None:
    """A sentence if the 95 % interval of a model's top-1 includes chance, or lies below it.

    `when` is a clause on a model that is not as it will be used.
    """
    right, images = int(model.right.sum()), len(model.right)
    low, high = share_interval(right, images)
    if low > model.chance:
        return None
    chance = " ".join(filter(None, ("chance", when)))
    return (
        f"{of} is not above {chance}: its top-1 is {_percent(right / images)} "
        f"({100 * low:.1f} to {100 * high:.1f}) on {images} validation images, and guessing "
        f"classes as often as it predicts them would reach {_percent(model.chance)}."
    )


def weak_teacher(teacher: Validated, baseline: Validated, gain: Gain) -> str | None:
    """A sentence if the teacher is significantly worse than the student trained without it."""
    if gain.points >= 0 or gain.p_value >= SIGNIFICANT:
        return None
    p_value = p_value_text(gain.p_value)
    return (
        f"The teacher is worse than the student trained without it: its top-1 is "
        f"{_percent(teacher.candidate.top1)} on {gain.images} validation images, and the student's "
        f"{_percent(baseline.candidate.top1)} "
        f"(McNemar p {p_value if p_value.startswith('<') else f'= {p_value}'})."
    )


def without_lead(teacher: Validated, baseline: Validated, gain: Gain) -> str | None:
    """A sentence if the teacher is no better than the student trained without it, within chance."""
    if gain.points > 0 or weak_teacher(teacher, baseline, gain):
        return None
    return (
        f"The teacher does not lead the student trained without it: their top-1 is "
        f"{_percent(teacher.candidate.top1)} and {_percent(baseline.candidate.top1)} on "
        f"{gain.images} validation images, so there is little to distil. A larger teacher, more of "
        "its epochs or more images may help."
    )


def _amount(gain: Gain) -> str:
    low, high = gain.interval
    if gain.points < 0:
        return f"lost {-gain.points:.1f} points ({-high:.1f} to {-low:.1f})"
    amount = f"{gain.points:.1f}" if gain.points else "0"
    return f"gained {amount} points ({low:.1f} to {high:.1f})"


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"
