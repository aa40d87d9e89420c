"""What views and losses are told: sections of the recipe, or any object with the same constants.

With these the core of the method needs torch alone, and no recipe.
"""
# ruff: noqa: D102 - the recipe's schema describes each constant

from __future__ import annotations

from typing import Literal, Protocol

from tmkd_deploy.records.types import LogitLoss


class ViewSettings(Protocol):
    """How edges and high frequencies are made; the recipe's section `views`."""

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
    """The constants of the loss; the recipe's section `distill` holds them.

    Plain KD is `beta = gamma = 0` with the view rgb alone, DKD the same with `logit_loss = "dkd"`,
    and supervised training `alpha = 0` besides.
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
