"""The records of the stages train_teacher, score_views and distill; readable without torch."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from tmkd_deploy.artifacts import Record
from tmkd_deploy.records.candidates import Candidate, Gain
from tmkd_deploy.records.figures import AtLeastOne, Count, Positive, Share
from tmkd_deploy.records.fusion import Fusion, GuidedBy
from tmkd_deploy.records.training import TrainingCurve

# files of the distill stage: images uint8 [k, 3, H, W, 3] and weights float32 [k, 3] for the report
VIEW_IMAGES = "views.npy"
VIEW_WEIGHTS = "view_weights.npy"


class TeacherRecord(Record):
    """The visual teacher; top-1 on the validation split by view, in [0, 1].

    `weakness` is a sentence on a teacher that is not above chance, None otherwise. `curve` is None
    if it was not trained. `weights` is what it started from: a weights file's name, or as in the
    recipe, but never "auto"; None in older records. `given` if it is the student itself, whose
    weights were taken as they are: there is no other teacher, and only the view rgb.
    """

    visual_model: str
    visual_parameters: AtLeastOne
    feature_width: AtLeastOne
    top1_by_view: dict[str, Share]
    weakness: str | None = None
    curve: TrainingCurve | None = None
    weights: str | None = None
    given: bool = False


class TextTeacherRecord(Record):
    """The text teacher; top-1 on the validation split by view, in [0, 1].

    `model` is the open_clip model, or the file of precomputed embeddings. Without an `image_tower`
    the top-1 is that of the visual teacher's features projected into the text space.
    `logit_scale` times its scores are its logits; None without an image tower, and in older
    records.
    """

    model: str
    image_tower: bool
    top1_by_view: dict[str, Share]
    logit_scale: Positive | None = None


class ViewWeights(Record):
    """The training images' view weights, in [0, 1], by view.

    `guided_by` is as in `Fusion`. `histogram` counts the images by weight, in bins of equal width
    from 0 to 1.
    """

    guided_by: GuidedBy
    mean: dict[str, float]
    mean_by_class: dict[str, dict[str, float]]
    histogram: dict[str, list[Count]]


StudentName = Literal["distilled", "baseline", "given"]


class StudentRecord(Record):
    """The distilled student and the baseline, the same student trained without teachers.

    Or the given student alone, which was not trained: it has no view weights and no curves.

    The one that `ships` goes on to quantization; `choice` says why in a sentence. `gain` is the
    distilled student's over the baseline, `teacher_gain` that of the fused teacher, which it
    learns from; both are None without a baseline. `weak_teacher` is a sentence on a teacher that
    is worse than the baseline, None otherwise, and `warnings` are what else is wrong with the
    student.
    `view_captions` name the validation images whose views and weights are stored for the report,
    and `curves` show how each candidate was trained. `weights` is what they started from, as in
    `TeacherRecord`. `fusion` is how the teachers' outputs were fused; None in older records.
    """

    model: str
    parameters: AtLeastOne
    feature_width: AtLeastOne
    candidates: dict[StudentName, Candidate]
    ships: StudentName
    choice: str
    gain: Gain | None = None
    teacher_gain: Gain | None = None
    weak_teacher: str | None = None
    warnings: list[str] = Field(default_factory=list)
    view_weights: ViewWeights | None = None
    view_captions: list[str] = Field(default_factory=list)
    curves: dict[StudentName, TrainingCurve] = Field(default_factory=dict)
    weights: str | None = None
    fusion: Fusion | None = None

    @model_validator(mode="after")
    def _a_candidate_ships(self) -> StudentRecord:
        if self.ships not in self.candidates:
            raise ValueError(f"the {self.ships} student ships and is no candidate")
        return self

    @property
    def top1(self) -> float:
        """The top-1 on the validation split of the student that ships, in [0, 1]."""
        return self.candidates[self.ships].top1

    @property
    def concerns(self) -> list[str]:
        """What is wrong with teacher and student, in sentences."""
        return [*([self.weak_teacher] if self.weak_teacher else []), *self.warnings]
