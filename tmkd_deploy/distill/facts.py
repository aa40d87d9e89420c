"""What the teach and distill stages record; readable without torch."""

from __future__ import annotations

from tmkd_deploy.artifacts import Facts


class TeacherFacts(Facts):
    """What is known of the teachers: top-1 on the test split, by view, in [0, 1]."""

    visual_model: str
    visual_parameters: int
    feature_width: int
    top1_by_view: dict[str, float]
    text_model: str
    text_top1_by_view: dict[str, float]


class StudentFacts(Facts):
    """What is known of the student; top-1 on the test split, in [0, 1].

    `view_captions` name the test images whose views and weights are kept for the report.
    """

    model: str
    parameters: int
    feature_width: int
    top1: float
    alone_top1: float | None
    mean_view_weights: dict[str, float]
    view_captions: list[str]
