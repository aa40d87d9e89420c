"""The rows of the table: the same loss with different constants."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from tmkd_deploy.records.types import VIEWS, LogitLoss, View


@dataclass(frozen=True)
class Row:
    """The teacher of a student, its views and weights, and the loss constants (see `LossSettings`).

    The constants were fixed before the first run and are the same on every data set: those of KD
    and DKD are the ones commonly used for ResNet-56 to ResNet-20 on CIFAR-100; beta, gamma and the
    two temperatures of TMKD are the recipe's defaults.
    """

    title: str
    teacher: str | None = "three views"
    views: tuple[View, ...] = VIEWS
    text_weights: bool = True
    weight_temperature: float = 0.05
    ce_weight: float = 0.1
    logit_loss: LogitLoss = "kd"
    dkd_beta: float = 2.0
    alpha: float = 0.9
    temperature: float = 4.0
    beta: float = 1.0
    gamma: float = 0.1
    contrastive_temperature: float = 0.07
    teacher_warmup_epochs: int = 0


_TMKD = Row("TMKD (KD)")
_KD = replace(_TMKD, title="KD", teacher="RGB", views=("rgb",), beta=0.0, gamma=0.0)
# DKD has the full weight on the labels and warms up its own term over a twelfth of the schedule
_DKD: dict[str, Any] = {"logit_loss": "dkd", "ce_weight": 1.0, "alpha": 1.0}

ROWS: dict[str, Row] = {
    "supervised": replace(_KD, title="Supervised", teacher=None, ce_weight=1.0, alpha=0.0),
    "kd": _KD,
    "dkd": replace(_KD, title="DKD", **_DKD),
    "tmkd-kd": _TMKD,
    "tmkd-dkd": replace(_TMKD, title="TMKD (DKD)", **_DKD),
    "no-views": replace(_TMKD, title="TMKD (KD) without views", views=("rgb",)),
    "no-text-weights": replace(_TMKD, title="TMKD (KD) without text weights", text_weights=False),
    "no-feature": replace(_TMKD, title="TMKD (KD) without feature term", beta=0.0),
    "no-contrastive": replace(_TMKD, title="TMKD (KD) without contrastive term", gamma=0.0),
}
