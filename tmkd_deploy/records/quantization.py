"""The records of the quantization stages; readable without torch."""

from __future__ import annotations

from enum import Enum
from typing import Literal

from pydantic import model_validator

from tmkd_deploy.artifacts import Record
from tmkd_deploy.records.candidates import Candidate, Gain
from tmkd_deploy.records.figures import AtLeastOne, Count, Points, Positive, Share

QuantizedName = Literal["calibrated", "fine_tuned"]


class QuantizationRecord(Record):
    """The quantized layers, the calibration, and the student before and after fine-tuning.

    The candidates compute by fake quantization in `quant_scheme`; there is no fine-tuned one if
    `quantize.epochs` is 0. The one that `ships` is exported; `choice` says why in a sentence, and
    `gain` is that of fine-tuning. `calibration_sha256` is the hash of the calibration images'
    hashes; the images come from the training split and are listed in `calibration.json` beside the
    weights. `control_top1` is the top-1 on the validation split, in [0, 1], of the student
    fine-tuned without quantizers, None unless `quantize.control` is set.
    """

    layers: list[str]
    excluded_layers: list[str]
    activation_quantizers: Count
    quant_scheme: str
    calibration_method: str
    calibration_images: AtLeastOne
    calibration_sha256: str
    candidates: dict[QuantizedName, Candidate]
    ships: QuantizedName
    choice: str
    gain: Gain | None = None
    control_top1: Share | None = None

    @model_validator(mode="after")
    def _a_candidate_ships(self) -> QuantizationRecord:
        if self.ships not in self.candidates:
            raise ValueError(f"the {self.ships} student ships and is no candidate")
        return self

    @property
    def top1(self) -> float:
        """The top-1 on the validation split of the student that ships, in [0, 1]."""
        return self.candidates[self.ships].top1


class Cost(Record):
    """How quantization changes a student's outputs on the images of a sensitivity analysis.

    `divergence` is the Kullback-Leibler divergence in nats, averaged over the images, of the
    quantized student's probabilities from the unquantized student's. `teacher_divergence` is the
    increase of the divergence from the teacher; below 0 the student gets closer. `points` is the
    change in top-1 in points (below 0 is a loss), `changed` the share of decisions that change.
    """

    divergence: float
    teacher_divergence: float
    points: Points
    changed: Share


class LayerSensitivity(Record):
    """One layer: the cost of quantizing it `alone`, and of quantizing all layers `without` it."""

    layer: str
    alone: Cost
    without: Cost


class SensitivityRecord(Record):
    """The cost of quantizing each layer after calibration without fine-tuning, highest first.

    The costs are computed on `images` training images, of which `calibrated_on` are also in the
    calibration set. `top1` is the unquantized student's on these images, `teacher_divergence` its
    divergence from the teacher in nats. `by_count[n]` is the total cost with the first n of
    `layers` excluded, up to all of them; additions and poolings stay quantized.
    """

    images: AtLeastOne
    calibrated_on: Count
    quant_scheme: str
    excluded_layers: list[str]
    top1: Share
    teacher_divergence: float
    layers: list[LayerSensitivity]
    by_count: list[Cost]


class SearchOutcome(str, Enum):
    """How a mixed-precision search ended.

    WITHIN: the last engine meets every budget. UNCERTAIN: it breaks none, but a measurement is
    inconclusive. NONE: no number of excluded layers meets them. OUT_OF_TRIALS: no trial did, and no
    more are allowed. STUDENT_INACCURATE: the unquantized student misses an accuracy budget itself,
    and so does the engine with no excluded layer.
    """

    WITHIN = "within"
    UNCERTAIN = "uncertain"
    NONE = "none"
    OUT_OF_TRIALS = "out_of_trials"
    STUDENT_INACCURATE = "student_inaccurate"


class Trial(Record):
    """One engine of a search, with the layers excluded in addition to the recipe's.

    `estimated_points` is the change in top-1 on training images after calibration without
    fine-tuning, `points` that of the INT8 engine against the unquantized student on the validation
    split.
    `not_kept` explains each budget that it breaks or whose measurement is inconclusive.
    """

    excluded_layers: list[str]
    estimated_points: Points
    points: Points | None
    p50_ms: Positive | None
    not_kept: list[str]


class MixedPrecisionRecord(Record):
    """A search for the layers to exclude so that the INT8 engine of `target` meets its budgets.

    The last of `trials` stands, whatever the `outcome`; `summary` describes the search.
    """

    target: str
    outcome: SearchOutcome
    trials: list[Trial]
    summary: str
