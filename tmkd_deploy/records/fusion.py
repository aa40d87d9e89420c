"""How the outputs of both teachers are fused, and how that was decided; readable without torch."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from tmkd_deploy.artifacts import Record
from tmkd_deploy.records.figures import AtLeastOne, NotNegative, Positive, Share
from tmkd_deploy.records.types import View

# the class that views are scored on; the validation split; or "nothing" for equal weights
GuidedBy = Literal["label", "prediction", "validation", "nothing"]
Part = Literal["softness", "view weights", "text weights", "text share"]


class Decision(Record):
    """Whether one part of the fused teacher is `tried` or stays at its `default`.

    `nll_before` and `nll_after` are its mean negative log-likelihoods in nats, without and with the
    change, on `images` of the validation split; `standard_error` is that of the mean change. The
    change is `taken` if it lowers the mean by more than that.
    """

    part: Part
    default: str
    tried: str
    nll_before: NotNegative
    nll_after: NotNegative
    standard_error: NotNegative
    images: AtLeastOne
    taken: bool

    @property
    def sentence(self) -> str:
        """What was taken or left, and what it gained, on one line."""
        change = f"{self.nll_before:.3f} → {self.nll_after:.3f}"
        if self.taken:
            return f"{self.part} {self.tried}: NLL {change} on {self.images} held-out images"
        within = f"within its standard error of {self.standard_error:.2g}"
        gained = within if self.nll_after < self.nll_before else "no gain"
        return f"{self.part}: {self.default} ({change}, {gained})"


class Fusion(Record):
    """z = sum over the views of w_v * softness * z_v, + text_share * the text teacher's logits.

    The weights w are the same for all images, `view_weights`, where the validation split guides
    them. `decisions` are what `distill.method: auto` tried, `notes` what it could not try.
    """

    softness: Positive = 1.0
    guided_by: GuidedBy = "nothing"
    view_weights: dict[View, Share] = Field(default_factory=dict)
    text_share: NotNegative = 0.0
    decisions: list[Decision] = Field(default_factory=list)
    notes: list[str] = Field(default_factory=list)

    @property
    def without_labels(self) -> Fusion:
        """The same with the text teacher's predictions as guide where labels are one.

        That is what held-out images are fused with.
        """
        if self.guided_by != "label":
            return self
        return self.model_copy(update={"guided_by": "prediction"})

    @property
    def sentences(self) -> list[str]:
        """Every decision on one line."""
        return [*(decision.sentence for decision in self.decisions), *self.notes]
