"""What a report is given, what a format is, and how reports reach the disk."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from tmkd_deploy import artifacts
from tmkd_deploy.errors import from_os_error
from tmkd_deploy.records.distillation import ViewWeights
from tmkd_deploy.records.measurements import Measurements
from tmkd_deploy.records.verdict import Outcome, Verdict


@dataclass(frozen=True)
class Views:
    """Some test images as the teachers see them.

    `images` is uint8 [k, 3, H, W, 3]: k images, each in the views rgb, edge and freq, in that
    order, as RGB pixels. `weights` is float [k, 3]: the semantic weights of those views in [0, 1];
    each row sums to 1. `captions` has k entries: image name and class.
    """

    images: NDArray[np.uint8]
    weights: NDArray[np.floating]
    captions: Sequence[str]


@dataclass(frozen=True)
class DataFigures:
    """The data set; `notes` say what a reader must know of it, its licence above all."""

    class_names: Sequence[str]
    train_images: int
    test_images: int
    notes: Sequence[str] = ()


@dataclass(frozen=True)
class TeacherFigures:
    """The teachers; shares in [0, 1].

    `top1_of_view` is the visual teacher's top-1 on each view alone, by the view's name;
    `text_zero_shot_top1` the text teacher's own top-1 from its prompts, None where it has no image
    tower.
    """

    model: str
    parameters: int
    top1_of_view: dict[str, float]
    text_model: str
    text_zero_shot_top1: float | None = None


@dataclass(frozen=True)
class StudentFigures:
    """The student's timm model and its number of parameters."""

    model: str
    parameters: int


@dataclass(frozen=True)
class QuantizationFigures:
    """What was quantized: `left_out` names the modules kept in floating point."""

    quantizers: int
    quantized_layers: int
    excluded_layers: Sequence[str]
    calibration: str


@dataclass(frozen=True)
class TargetReport:
    """One target: what was measured, what the gate says, what was bundled (name and bytes)."""

    measurements: Measurements
    verdict: Verdict
    bundle_file: str | None
    bundle_bytes: int | None


@dataclass(frozen=True)
class StageTime:
    """How long a stage took, in seconds; a reused one was not run again."""

    stage: str
    seconds: float
    reused: bool


@dataclass(frozen=True)
class RunReport:
    """Everything a report tells of one run.

    `recipe_yaml` is the resolved recipe as text; `quantization` is None where it was switched off;
    `views` are the gallery and `view_weights` what the training images' views weigh; `machine`
    describes, by free keys, where the run was made; `notes` are complete sentences.
    """

    name: str
    recipe_yaml: str
    data: DataFigures
    teacher: TeacherFigures
    student: StudentFigures
    quantization: QuantizationFigures | None
    targets: Sequence[TargetReport]
    views: Views | None
    view_weights: ViewWeights
    machine: dict[str, str]
    stages: Sequence[StageTime]
    notes: Sequence[str] = ()

    @property
    def outcome(self) -> Outcome:
        """The worst outcome of all targets: failed before inconclusive before passed."""
        outcomes = {target.verdict.outcome for target in self.targets}
        worst_first = (Outcome.FAILED, Outcome.INCONCLUSIVE)
        return next((each for each in worst_first if each in outcomes), Outcome.PASSED)


class Format(Protocol):
    """One way to write a report."""

    file_name: str

    def render(self, report: RunReport) -> str:
        """The whole file as text."""


def write(report: RunReport, folder: Path, formats: Sequence[Format]) -> list[Path]:
    """Write `report` into `folder` in each format, and return the paths in that order.

    Everything is rendered before the first file is written, and each file is replaced whole.

    Raises:
        MissingExtra: a format needs packages that are not installed.
        EnvironmentProblem: the disk is full or the folder cannot be written.
    """
    texts = {folder / each.file_name: each.render(report) for each in formats}
    for path, text in texts.items():
        try:
            artifacts.write_text(path, text)
        except OSError as error:
            raise from_os_error(error) from error
    return list(texts)
