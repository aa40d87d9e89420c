"""The records of the stages train_teacher, score_views and distill; readable without torch."""

from __future__ import annotations

from typing import Literal

from tmkd_deploy.artifacts import Record
from tmkd_deploy.records.figures import AtLeastOne, Count, Share

# files of the distill stage: images uint8 [k, 3, H, W, 3] and weights float32 [k, 3] for the report
VIEW_IMAGES = "views.npy"
VIEW_WEIGHTS = "view_weights.npy"


class TeacherRecord(Record):
    """The visual teacher; top-1 on the validation split by view, in [0, 1]."""

    visual_model: str
    visual_parameters: AtLeastOne
    feature_width: AtLeastOne
    top1_by_view: dict[str, Share]


class TextTeacherRecord(Record):
    """The text teacher; top-1 on the validation split by view, in [0, 1].

    `model` is the open_clip model, or the file of precomputed embeddings. Without an `image_tower`
    the top-1 is that of the visual teacher's features projected into the text space.
    """

    model: str
    image_tower: bool
    top1_by_view: dict[str, Share]


class ViewWeights(Record):
    """The training images' view weights, in [0, 1], by view.

    `guided_by` is the class that views are scored on, or "nothing" for equal weights. `histogram`
    counts the images by weight, in bins of equal width from 0 to 1.
    """

    guided_by: Literal["label", "prediction", "nothing"]
    mean: dict[str, float]
    mean_by_class: dict[str, dict[str, float]]
    histogram: dict[str, list[Count]]


class StudentRecord(Record):
    """The student; top-1 on the validation split, in [0, 1].

    `baseline_top1` is that of the same student trained without teachers. `view_captions` name the
    validation images whose views and weights are stored for the report.
    """

    model: str
    parameters: AtLeastOne
    feature_width: AtLeastOne
    top1: Share
    baseline_top1: Share | None
    view_weights: ViewWeights
    view_captions: list[str]
