"""Which of the usual conventions for pixels an ONNX file was trained with, by its own accuracy."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tmkd_deploy.data.prepared import PreparedData
from tmkd_deploy.errors import RequestError
from tmkd_deploy.events import Events, track
from tmkd_deploy.models.onnx_import.convert import Converted
from tmkd_deploy.models.onnx_import.original import original
from tmkd_deploy.proportions import mcnemar_p_value
from tmkd_deploy.records.measurements import SIGNIFICANT
from tmkd_deploy.records.types import Normalisation

_IMAGES = 256
_CONVENTIONS: dict[str, Normalisation] = {
    "pixels in [0, 1]": ([0.0] * 3, [1.0] * 3),
    "pixels in [-1, 1]": ([0.5] * 3, [0.5] * 3),
    "mean and std of ImageNet": ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]),
    "pixels from 0 to 255": ([0.0] * 3, [1 / 255] * 3),
}


@dataclass(frozen=True)
class Tried:
    """One convention, and which of the images the file gets right with it, bool [N]."""

    name: str
    normalisation: Normalisation
    bgr: bool
    right: npt.NDArray[np.bool_]

    @property
    def sentence(self) -> str:
        """The convention and its top-1."""
        order = "blue first" if self.bgr else "red first"
        return f"{self.name}, {order}: {100 * self.right.mean():.1f} %"


def best_convention(
    converted: Converted, data: PreparedData, events: Events, bgr: bool | None = None
) -> Tried:
    """The convention with the highest top-1 on validation images, if it leads beyond chance.

    `bgr` is whether blue comes first, where that was stated; both orders are tried otherwise.

    Raises:
        RequestError: none leads, so that it has to be stated.
    """
    labels = np.asarray(data.labels("val"))
    rows = np.unique(np.linspace(0, len(labels) - 1, _IMAGES).astype(int))
    images = np.asarray(data.images("val")[rows])
    scores = original(converted)
    orders = (False, True) if bgr is None else (bgr,)
    options = [(*each, order) for each in _CONVENTIONS.items() for order in orders]
    tried = []
    for name, normalisation, order in track(
        events, options, "Trying conventions for pixels", len(options), "conventions"
    ):
        found = scores(images, normalisation, order).argmax(axis=1)
        tried.append(Tried(name, normalisation, order, found == labels[rows]))
    tried.sort(key=lambda each: each.right.mean(), reverse=True)
    best = tried[0]
    others = [each for each in tried[1:] if not _same(best, each)]
    if not all(_leads(best, each) for each in others):
        raise RequestError(
            "What pixel values the ONNX file expects is not clear: on "
            f"{len(rows)} validation images, its top-1 is {_listed(tried[:4])}.",
            where="data.mean and data.std",
            advice="State what it was trained with, for pixels in [0, 1]: --set "
            "data.mean=[0.485,0.456,0.406] --set data.std=[0.229,0.224,0.225], and, if blue comes "
            "first, --set student.model_kwargs.channel_order=bgr. If none is right, the order "
            "of its classes may differ from the data's.",
        )
    events.say(
        f"The ONNX file is right most often with {best.sentence}, on {len(rows)} validation "
        f"images; the next is {others[0].sentence}."
    )
    return best


def _leads(best: Tried, other: Tried) -> bool:
    gained, lost = int((best.right & ~other.right).sum()), int((other.right & ~best.right).sum())
    return gained > lost and mcnemar_p_value(gained, lost) < SIGNIFICANT


def _same(best: Tried, other: Tried) -> bool:
    """Whether only the order of the channels differs, and grey images leave that open."""
    return best.normalisation == other.normalisation and bool((best.right == other.right).all())


def _listed(tried: Sequence[Tried]) -> str:
    return "; ".join(each.sentence for each in tried)
