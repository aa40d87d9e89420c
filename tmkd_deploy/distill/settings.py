"""The settings of views and losses, as protocols: recipe sections, or any object with these fields.

They keep the core of the method free of the recipe; it depends on torch only.
"""
# ruff: noqa: D102 - the recipe's schema describes each constant

from __future__ import annotations

from typing import Literal, Protocol

from tmkd_deploy.records.types import LogitLoss


class ViewSettings(Protocol):
    """How the edge and high-frequency views are computed; the recipe's section `views`."""

    @property
    def edge(self) -> Literal["sobel", "canny"]: ...
    @property
    def edge_strength(self) -> float: ...
    @property
    def freq(self) -> Literal["fft", "gaussian"]: ...
    @property
    def freq_cutoff(self) -> float: ...
    @property
    def freq_base(self) -> Literal["grey", "image"]: ...


class LossSettings(Protocol):
    """The constants of the loss; the recipe's section `distill`.

    Plain KD is `beta = gamma = 0` with the view rgb only. DKD is the same with
    `logit_loss = "dkd"`; supervised training also sets `alpha = 0`.
    """

    @property
    def ce_weight(self) -> float: ...
    @property
    def logit_loss(self) -> LogitLoss: ...
    @property
    def dkd_beta(self) -> float: ...
    @property
    def alpha(self) -> float: ...
    @property
    def temperature(self) -> float: ...
    @property
    def beta(self) -> float: ...
    @property
    def gamma(self) -> float: ...
    @property
    def contrastive_temperature(self) -> float: ...
    @property
    def teacher_warmup_epochs(self) -> int: ...
