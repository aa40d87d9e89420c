"""The schedule of most distillation papers on this pair, and the rows trained with it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

TEACHER, STUDENT = "cifar_resnet56", "cifar_resnet20"
EPOCHS, BATCH, RATE, DECAY = 240, 64, 0.05, 5e-4
TUNING_EPOCHS, TUNING_BATCH, TUNING_RATE, TUNING_DECAY = 30, 256, 1e-3, 0.02
WEIGHT_TEMPERATURE = 0.05  # of the weights by text, as in the recipe
# of the published student, by the papers on KD and DKD; a row may differ from it by this much
PUBLISHED = {"kd": 70.66, "dkd": 71.97}
TOLERANCE = 0.4

Outputs = Literal["published", "tuned", "views", "weighted views"]


@dataclass(frozen=True)
class Row:
    """How a student is taught, by which teacher's outputs; None is without a teacher.

    "published" is the checkpoint as it is, "tuned" the same one tuned on RGB images like the
    teacher of views, "views" the mean of that one's views, and "weighted views" the views weighted
    by the text scores of the label.
    """

    title: str
    outputs: Outputs | None
    ce_weight: float = 0.1
    logit_loss: Literal["kd", "dkd", "dist"] = "kd"
    dkd_beta: float = 2.0
    alpha: float = 0.9
    temperature: float = 4.0
    beta: float = 0.0
    gamma: float = 0.0
    contrastive_temperature: float = 0.07
    teacher_warmup_epochs: int = 0


_KD = Row("KD", "published")
_VIEWS = replace(_KD, title="Even views", outputs="views")
ROWS = {
    "supervised": replace(_KD, title="Supervised", outputs=None),
    "kd": _KD,
    "dkd": replace(
        _KD, title="DKD", logit_loss="dkd", ce_weight=1.0, alpha=1.0, teacher_warmup_epochs=20
    ),
    "kd-tuned": replace(_KD, title="KD, teacher tuned on RGB", outputs="tuned"),
    "views": _VIEWS,
    "views-feature": replace(_VIEWS, title="Even views, feature term", beta=1.0),
    "article": replace(
        _VIEWS, title="TMKD, article", outputs="weighted views", beta=1.0, gamma=0.1
    ),
}
