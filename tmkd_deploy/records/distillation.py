"""What the teach, weigh and distill stages record; readable without torch."""

from __future__ import annotations

from typing import Literal

from tmkd_deploy.artifacts import Record


class TeacherRecord(Record):
    """What is known of the visual teacher: top-1 on the test split, by view, in [0, 1]."""

    visual_model: str
    visual_parameters: int
    feature_width: int
    top1_by_view: dict[str, float]


class TextTeacherRecord(Record):
    """What is known of the text teacher: top-1 on the test split, by view, in [0, 1].

    `model` is open_clip's name, or that of the file of precomputed embeddings. Without an
    `image_tower` the top-1 is that of the visual teacher's features projected into text space.
    """

    model: str
    image_tower: bool
    top1_by_view: dict[str, float]


class ViewWeights(Record):
    """The weights that the training images' views have: shares in [0, 1] by the view's name.

    `guided_by` says which class the views are scored on, or that all count alike. `histogram`
    counts the images by weight, in bins of equal width from 0 to 1.
    """

    guided_by: Literal["label", "prediction", "nothing"]
    mean: dict[str, float]
    mean_by_class: dict[str, dict[str, float]]
    histogram: dict[str, list[int]]


class StudentRecord(Record):
    """What is known of the student; top-1 on the test split, in [0, 1].

    `view_captions` name the test images whose views and weights are kept for the report.
    """

    model: str
    parameters: int
    feature_width: int
    top1: float
    baseline_top1: float | None
    view_weights: ViewWeights
    view_captions: list[str]
