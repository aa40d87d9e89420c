"""Keys that the sections of the teacher's and the student's training share."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from tmkd_deploy.records.types import Augmentation

Keep = Annotated[
    Literal["auto", "best", "last"],
    Field(
        description="Epoch whose weights are kept, by top-1 on the validation split. 'auto': the "
        "last, unless it is significantly worse than the best or training stopped early."
    ),
]
Patience = Annotated[
    int | None,
    Field(
        ge=1, description="Stop after so many epochs without a better one; null trains them all."
    ),
]
EmaDecay = Annotated[
    float | None,
    Field(
        gt=0.0,
        lt=1.0,
        description="Decay of an exponential moving average of the weights, which is evaluated and "
        "kept in their place, such as 0.999; null averages nothing.",
    ),
]
ClassWeights = Annotated[
    Literal["none", "balanced"],
    Field(
        description="Weights of the classes in the cross-entropy with the labels. 'balanced': the "
        "inverse of the frequency, at most 10 times the weight of the largest class."
    ),
]


def _once(listed: list[Augmentation]) -> list[Augmentation]:
    if len(set(listed)) != len(listed):
        raise ValueError("an augmentation is listed twice")
    return listed


Augmentations = Annotated[list[Augmentation], AfterValidator(_once)]
