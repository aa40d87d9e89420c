"""What the measure stage records: accuracy and latency of the engines of one target."""

from __future__ import annotations

from itertools import pairwise
from typing import Annotated, Literal

from pydantic import Field, model_validator

from tmkd_deploy.artifacts import Record
from tmkd_deploy.records.engine_names import engine_name
from tmkd_deploy.records.figures import (
    AtLeastOne,
    Change,
    Count,
    Interval,
    Points,
    Share,
    require_ascending,
)
from tmkd_deploy.records.latency import Latency, LatencyRow
from tmkd_deploy.records.types import Precision, RuntimeName

Representation = Literal[
    "teacher",
    "student_baseline",
    "student_distilled",
    "student",
    "student_control",
    "fake_quantized",
    "onnx",
    "engine",
    "post_training",
]

SIGNIFICANT = 0.05


class ClassFlips(Record):
    """The test images of one true class whose predicted class a step changed.

    `gained` became correct, `lost` became incorrect, `still_wrong` moved from one wrong class to
    another. `gained_from` and `lost_to` count the wrong classes that gained images came from and
    lost images went to: at most three, most frequent first.
    """

    class_name: str
    gained: Count
    lost: Count
    still_wrong: Count
    gained_from: dict[str, Count]
    lost_to: dict[str, Count]


class PairedCounts(Record):
    """The test images that one model classified correctly and another did not, and vice versa."""

    gained: Count
    lost: Count


class LedgerRow(Record):
    """One representation of the model on the test split; all rows use the same images.

    `student` is the student that ships, and `student_baseline` or `student_distilled` the candidate
    that does not. `post_training` rows are alternative quantizations of the student. Results of
    earlier versions may lack the calibration error. The fields from `compared_with` on describe the
    step from the row it names: `change_points` is the change in top-1 in percentage points with its
    paired 95 % interval, `p_value` comes from the exact McNemar test, `calibration_error_change` is
    a difference of shares, `flips` has one entry per class with changed predictions, and `note`
    comments on some significant steps. `against` compares an engine with the teacher and with the
    unquantized student, however many steps lie between. `threshold` is the model's own decision
    threshold for `Measurements.guarded_class`; every figure but the calibration error follows it.
    `runtime` is that of an engine if it is not the target's own.
    """

    representation: Representation
    precision: Precision
    runtime: RuntimeName | None = None
    label: str
    top1: Share
    top1_interval: Interval
    macro_recall: Share
    agreement_with_teacher: Share
    expected_calibration_error: Share | None = None
    compared_with: Representation | None = None
    agreement_with_compared: Share | None = None
    change_points: Points | None = None
    change_interval: Interval | None = None
    gained: Count | None = None
    lost: Count | None = None
    p_value: Share | None = None
    calibration_error_change: Change | None = None
    flips: tuple[ClassFlips, ...] = ()
    note: str | None = None
    against: dict[Representation, PairedCounts] = Field(default_factory=dict)
    threshold: Share | None = None

    @model_validator(mode="after")
    def _in_order(self) -> LedgerRow:
        low, high = self.top1_interval
        require_ascending("0, the interval around top1, and 1", 0, low, self.top1, high, 1)
        if self.change_points is not None and self.change_interval is not None:
            low, high = self.change_interval
            require_ascending("the interval around change_points", low, self.change_points, high)
        return self

    @property
    def engine(self) -> str | None:
        """The name of the engine that the row is about; None for every other model."""
        if self.representation != "engine":
            return None
        return engine_name(self.precision, self.runtime)

    @property
    def significant(self) -> bool:
        """Whether the step changed top-1 significantly, at the 5 % level.

        The p-value decides; results of earlier versions have none, so there the interval decides.
        """
        if self.p_value is not None:
            return self.p_value < SIGNIFICANT
        return self.change_interval is not None and not (
            self.change_interval[0] <= 0 <= self.change_interval[1]
        )


class TiedTo(Record):
    """The only kind of machine that a TensorRT engine runs on, and how to build it for another.

    `release` is that of TensorRT, `compute_capability` that of the GPU, such as 87, and `typing`,
    `workspace_mb` and `dla_core` are what the builder was asked for.
    """

    release: Annotated[str, Field(pattern=r"^\d{1,5}(\.\d{1,9}){1,3}$")]
    compute_capability: Annotated[int, Field(ge=10, le=999)]
    typing: Literal["strong", "flags"]
    workspace_mb: AtLeastOne | None
    dla_core: Count | None


class EngineFile(Record):
    """One engine and, if its builder lists layers, how many of its weighted layers run in INT8.

    `runtime` is None for the target's own. `tied_to` is None for engines that run anywhere, or if
    the machine is not known.
    """

    precision: Precision
    runtime: RuntimeName | None = None
    file: str
    bytes: AtLeastOne
    sha256: str
    int8_layers: Count | None
    total_layers: Count | None
    tied_to: TiedTo | None = None

    @property
    def name(self) -> str:
        """What the engine is called in everything that is recorded of its target."""
        return engine_name(self.precision, self.runtime)


class Unusable(Record):
    """Why an engine has no figures, in complete sentences.

    `first_image` is the index of the first test image whose logits are not finite; None if the
    engine's outputs are no logits at all.
    """

    reason: str
    first_image: Count | None = None


class Measurements(Record):
    """Accuracy and latency of all engines of one target.

    The images are those of `split`: the test split, or the validation split for a trial of a
    search; `test_images` counts them. `confusion_by_engine` maps an engine's name to its confusion
    matrix, by true class (row) and predicted class (column). `latency` is None, and `not_measured`
    says why, if nothing available runs the engines. `unusable` maps engines, by their names in
    `latency`, to the reason why they have no figures at all: there are none of logits that are not
    finite. `concerns` are sentences on what the verdict rests on, such as a weak teacher.
    `unfit_split` says in a sentence why results on the split say little of new images; None if
    they do. `guarded_class` is the class that must not be missed, and `guarded_recall` what its
    thresholds were chosen for; None if the highest score decides. `model_is_given` if there was no
    teacher: the first row of the ledger, the given model, stands for it and for the unquantized
    student.
    """

    target: str
    runtime: RuntimeName
    class_names: list[str]
    split: Literal["val", "test"] = "test"
    test_images: AtLeastOne
    engines: list[EngineFile]
    ledger: list[LedgerRow]
    confusion_by_engine: dict[str, list[list[Count]]]
    latency: Latency | None
    not_measured: str | None = None
    unusable: dict[str, Unusable] = Field(default_factory=dict)
    concerns: list[str] = Field(default_factory=list)
    unfit_split: str | None = None
    teacher_parameters: Count
    student_parameters: Count
    model_is_given: bool = False
    guarded_class: str | None = None
    guarded_recall: Share | None = None

    @model_validator(mode="after")
    def _the_guarded_class_has_thresholds(self) -> Measurements:
        if self.guarded_class is None:
            return self
        if self.guarded_class not in self.class_names:
            raise ValueError("the guarded class must be one of the classes")
        if any(row.threshold is None for row in self.ledger):
            raise ValueError("every model must have a threshold for the guarded class")
        return self

    @model_validator(mode="after")
    def _confusions_count_the_test_images(self) -> Measurements:
        classes = len(self.class_names)
        counts = {
            name: [sum(row) for row in rows] for name, rows in self.confusion_by_engine.items()
        }
        for name, rows in self.confusion_by_engine.items():
            if len(rows) != classes or any(len(row) != classes for row in rows):
                raise ValueError(f"the confusion matrix of {name} must be {classes} x {classes}")
            if sum(counts[name]) != self.test_images:
                raise ValueError(f"the confusion matrix of {name} must count every test image once")
        if any(one != other for one, other in pairwise(counts.values())):
            raise ValueError("confusion matrices of the same test images must have equal row sums")
        return self

    @model_validator(mode="after")
    def _nothing_is_told_of_unusable_engines(self) -> Measurements:
        told: set[str] = {*self.confusion_by_engine}
        told |= {row.engine for row in self.ledger if row.engine}
        if self.latency:
            told |= {row.engine for row in self.latency.rows}
        if both := told & {*self.unusable}:
            raise ValueError(f"unusable engines can have no figures: {', '.join(sorted(both))}")
        sound = {each.precision for each in self.engines if each.name not in self.unusable}
        files = {row.precision for row in self.ledger if row.representation == "onnx"}
        if files - sound:
            raise ValueError("an ONNX file without a usable engine can have no figures")
        return self

    @property
    def runtimes(self) -> list[RuntimeName]:
        """The runtimes of its engines, the target's own first."""
        others = (each.runtime for each in self.engines if each.runtime)
        return [*dict.fromkeys((self.runtime, *others))]

    def ledger_row(
        self, representation: Representation, precision: Precision | None = None
    ) -> LedgerRow | None:
        """The first ledger row of a representation, in `precision` if one is given."""
        rows = (
            row
            for row in self.ledger
            if row.representation == representation and precision in (None, row.precision)
        )
        return next(rows, None)

    def engine_accuracy(self, engine: str) -> LedgerRow | None:
        """The ledger row of an engine; None if the engine was not run."""
        return next((row for row in self.ledger if row.engine == engine), None)

    def threshold(self, engine: str) -> float | None:
        """The decision threshold of an engine; of its ONNX file if the engine was not run."""
        row, file = self.engine_accuracy(engine), self.engine_file(engine)
        if row is None and file is not None:
            row = self.ledger_row("onnx", file.precision)
        return row.threshold if row else None

    def engine_latency(self, engine: str) -> LatencyRow | None:
        """The latency of an engine, or of 'teacher'; None if it was not timed."""
        rows = self.latency.rows if self.latency else []
        return next((row for row in rows if row.engine == engine), None)

    def frame_latency(self, engine: str) -> LatencyRow | None:
        """The latency of a frame with an engine; None if it was not timed."""
        frame = self.latency.frame if self.latency else None
        rows = frame.rows if frame else []
        return next((row for row in rows if row.engine == engine), None)

    def ran(self, engine: str) -> bool:
        """Whether the engine itself was run, on images or for time."""
        found = (self.engine_accuracy(engine), self.engine_latency(engine))
        return any(each is not None for each in found)

    def engine_confusion(self, engine: str) -> list[list[int]]:
        """The confusion matrix of an engine; empty if only its ONNX file was run."""
        if self.engine_accuracy(engine) is None:
            return []
        return self.confusion_by_engine.get(engine, [])

    def engine_file(self, engine: str) -> EngineFile | None:
        """The file of an engine; None if it was not built."""
        return next((each for each in self.engines if each.name == engine), None)
