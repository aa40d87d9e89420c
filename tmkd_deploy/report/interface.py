"""The contents of a report, the format protocol, and writing reports to disk."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from tmkd_deploy import artifacts
from tmkd_deploy.errors import from_os_error
from tmkd_deploy.records.distillation import ViewWeights
from tmkd_deploy.records.fusion import Fusion
from tmkd_deploy.records.training import TrainingCurve
from tmkd_deploy.records.verdict import GateRecord, Outcome, worst


@dataclass(frozen=True)
class ViewGallery:
    """Some validation images in all views.

    Attributes:
        images: uint8 [k, 3, H, W, 3], k images as RGB pixels in the views rgb, edge and freq.
        weights: float [k, 3], the semantic weights of those views in [0, 1]; rows sum to 1.
        captions: k entries with image name and class.
    """

    images: NDArray[np.uint8]
    weights: NDArray[np.floating]
    captions: Sequence[str]


@dataclass(frozen=True)
class DataSummary:
    """The data set; `notes` are what a reader must know about it, such as its licence.

    `drawn_splits` were held out with the seed `split_seed`; the data define the others. `group_by`
    says which images stayed together, None if each was on its own. `fold` is the number of the
    fold that the test split is, and how many there are; None if it is no fold.
    """

    class_names: Sequence[str]
    train_images: int
    val_images: int
    test_images: int
    drawn_splits: Sequence[str]
    split_seed: int
    group_by: str | None
    fold: tuple[int, int] | None = None
    notes: Sequence[str] = ()

    @property
    def split_note(self) -> str:
        """How the splits came about and what each is for, in sentences."""
        purpose = "Chosen on validation, judged on test: no choice saw the test images."
        names = {"val": "validation", "test": "test"}
        drawn = " and ".join(names[split] for split in names if split in self.drawn_splits)
        if not drawn:
            return f"{purpose} The data define all three splits."
        splits = "splits were" if len(self.drawn_splits) > 1 else "split was"
        groups = f", whole groups at a time (by {self.group_by})" if self.group_by else ""
        fold = "; the test split is fold {} of {}".format(*self.fold) if self.fold else ""
        how = f"held out with seed {self.split_seed}{groups}{fold}"
        return f"{purpose} The {drawn} {splits} {how}."


@dataclass(frozen=True)
class TeacherSummary:
    """The teachers; accuracies lie in [0, 1].

    `top1_of_view` is the visual teacher's top-1 on each single view, by view name.
    `text_zero_shot_top1` is the text teacher's zero-shot top-1, None if it has no image tower.
    `weights` is what the visual teacher started from, None if that was not recorded.
    """

    model: str
    parameters: int
    top1_of_view: dict[str, float]
    text_model: str
    text_zero_shot_top1: float | None = None
    weights: str | None = None


@dataclass(frozen=True)
class StudentSummary:
    """The student's model name, number of parameters, and what it started from if known."""

    model: str
    parameters: int
    weights: str | None = None


@dataclass(frozen=True)
class QuantizationSummary:
    """What was quantized; `excluded_layers` are the modules kept in floating point."""

    quantizers: int
    quantized_layers: int
    excluded_layers: Sequence[str]
    calibration: str


@dataclass(frozen=True)
class TargetReport:
    """One target: the gate's record, and its bundle's file name and size if there is a bundle.

    `judged` is when, in ISO format, if that was before this run; `is_stale` if the model was
    trained again since.
    """

    gate: GateRecord
    bundle_file: str | None
    bundle_bytes: int | None
    judged: str | None = None
    is_stale: bool = False

    @property
    def name(self) -> str:
        """The target's name."""
        return self.gate.measurements.target

    @property
    def outcome(self) -> Outcome:
        """The verdict's, but what passed with an older model has not been judged."""
        found = self.gate.verdict.outcome
        return Outcome.NOT_JUDGED if self.is_stale and found is Outcome.PASSED else found

    @property
    def notes(self) -> list[str]:
        """What a reader must know of the verdict before all else, in sentences."""
        found = []
        if self.judged:
            when = self.judged.replace("T", " ").replace("+00:00", " UTC")
            found.append(f"This verdict is of {when}, from an earlier run.")
        if self.is_stale:
            found.append(
                "The model was trained again since, so the verdict is of an older one: run the "
                f"command again with --target {self.name}."
            )
        if self.gate.verdict.outcome is Outcome.NOT_JUDGED and self.gate.verdict.not_judged:
            found.append(f"Not judged: {self.gate.verdict.not_judged}")
        return found


@dataclass(frozen=True)
class StageTime:
    """How long a stage took, in seconds; `reused` stages did not run again."""

    stage: str
    seconds: float
    reused: bool


@dataclass(frozen=True)
class RunReport:
    """The contents of a report on one run.

    `recipe_yaml` is the resolved recipe without folders, `quantization` is None if it is disabled,
    `teacher` and `view_weights` are None if the student was given and nothing distilled,
    `view_weights` are those of the training images, `machine` describes the host, `choices` say
    which candidates ship and why, and `notes` are complete sentences too. `curves` are those of the
    trainings "teacher", "distilled" and "baseline" as far as there were any. `fusion` is how the
    teachers' outputs were fused; None in older runs.
    """

    name: str
    recipe_yaml: str
    data: DataSummary
    teacher: TeacherSummary | None
    student: StudentSummary
    quantization: QuantizationSummary | None
    targets: Sequence[TargetReport]
    views: ViewGallery | None
    view_weights: ViewWeights | None
    machine: dict[str, str]
    stages: Sequence[StageTime]
    notes: Sequence[str] = ()
    choices: Sequence[str] = ()
    curves: Mapping[str, TrainingCurve] = field(default_factory=dict)
    fusion: Fusion | None = None

    @property
    def outcome(self) -> Outcome:
        """The worst outcome over all targets, see `worst`."""
        return worst(self.outcomes.values())

    @property
    def outcomes(self) -> dict[str, Outcome]:
        """The outcome of each target."""
        return {target.name: target.outcome for target in self.targets}


class Format(Protocol):
    """A report format."""

    file_name: str

    def render(self, report: RunReport) -> str:
        """The file's contents."""


def write(report: RunReport, folder: Path, formats: Sequence[Format]) -> list[Path]:
    """Write `report` into `folder` in each format and return the paths in the same order.

    All formats are rendered before the first file is written, and files are replaced atomically.

    Raises:
        MissingExtra: a format needs a package that is not installed.
        EnvironmentProblem: the disk is full or the folder is not writable.
    """
    texts = {folder / each.file_name: each.render(report) for each in formats}
    for path, text in texts.items():
        try:
            artifacts.write_text(path, text)
        except OSError as error:
            raise from_os_error(error) from error
    return list(texts)
