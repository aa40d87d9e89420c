"""The recipe's sections on deployment, from quantization to targets and their budgets."""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from tmkd_deploy.devices.address import parse
from tmkd_deploy.errors import RequestError
from tmkd_deploy.recipe.section import Count, Fraction, NotNegative, Positive, Section
from tmkd_deploy.records.types import Precision, RuntimeName
from tmkd_deploy.runtime.image_limits import size_problem

Preference = Literal["latency", "size"]

_FRAME = re.compile(r"[1-9][0-9]{0,5}x[1-9][0-9]{0,5}")


class Calibration(Section):
    """How the ranges of activations are calibrated."""

    method: Literal["max", "percentile", "entropy", "mse"] = Field(
        "percentile",
        description="Range of each activation: the largest magnitude, a percentile of the "
        "magnitudes, or the range that minimises the Kullback-Leibler divergence ('entropy') or "
        "the mean squared error ('mse') of rounding.",
    )
    percentile: Annotated[float, Field(gt=50.0, le=100.0)] = Field(
        99.99, description="Percentage of the magnitudes in range, for the method 'percentile'."
    )
    images: Annotated[int, Field(ge=32)] = Field(
        256, description="Calibration images, drawn evenly by class from the training split."
    )


class Quantize(Section):
    """Quantization-aware fine-tuning with the same teachers."""

    enabled: bool = Field(True, description="Build INT8 engines.")
    epochs: Annotated[int, Field(ge=0)] = Field(
        3, description="Epochs of fine-tuning; 0 is post-training quantization."
    )
    learning_rate: Positive = Field(2e-4, description="Peak learning rate of the schedule.")
    calibration: Calibration = Field(
        Calibration(), description="How the ranges of activations are calibrated."
    )
    ship: Literal["best", "fine_tuned", "calibrated"] = Field(
        "best",
        description="The quantized student that ships. 'best': the fine-tuned one, unless it is "
        "significantly worse than the calibrated one on the validation split. Or the one named.",
    )
    exclude_layers: list[str] = Field(
        default_factory=list, description="Modules of the student to keep in floating point."
    )
    mixed_precision_trials: Annotated[int, Field(ge=0)] = Field(
        0,
        description="Engines to try, at most, to find the fewest layers that must stay in floating "
        "point for the INT8 engine of the first target to meet its budgets; 0 disables the search.",
    )
    control: bool = Field(
        False,
        description="Also fine-tune the student on the same schedule without quantizers, to "
        "separate the effect of quantization from that of longer training.",
    )
    compare: list[Literal["post_training", "quantize_static", "modelopt"]] = Field(
        default_factory=list,
        description="Post-training quantization to measure beside the engines of ONNX Runtime: "
        "this package's, ONNX Runtime's own, nvidia-modelopt's.",
    )

    @field_validator("compare")
    @classmethod
    def _methods_once(cls, methods: list[str]) -> list[str]:
        if len(set(methods)) != len(methods):
            raise ValueError("a method is listed twice")
        return methods

    @model_validator(mode="after")
    def _what_ships_is_made(self) -> Quantize:
        if self.ship == "fine_tuned" and self.epochs == 0:
            raise ValueError("'ship: fine_tuned' needs 'epochs' above 0")
        return self


class Export(Section):
    """The ONNX files that engines are built from."""

    opset: Annotated[int, Field(ge=18, le=22)] = Field(20, description="ONNX opset version.")
    parity_images: Annotated[int, Field(ge=1)] = Field(
        16, description="Real images on which the ONNX files are compared with torch."
    )


class Measure(Section):
    """The latency protocol of `docs/explanation/latency.md`."""

    threads: Count = Field(2, description="Threads of a CPU engine.")
    warmup_seconds: Positive = Field(1.0, description="Warm-up of each engine before timing.")
    min_runs: Annotated[int, Field(ge=20)] = Field(
        200, description="Minimum number of timed runs per engine."
    )
    min_seconds: Positive = Field(3.0, description="Minimum of timed seconds per engine.")


class Budgets(Section):
    """Limits that the shipped engine must meet; a limit that is not set is not checked.

    Accuracy and latency are judged by their 95 % intervals.
    """

    latency_p50_ms: Positive | None = Field(None, description="Maximum median latency.")
    latency_p99_ms: Positive | None = Field(None, description="Maximum 99th percentile of latency.")
    frame_p50_ms: Positive | None = Field(
        None, description="Maximum median latency of a whole `frame`."
    )
    frame_p99_ms: Positive | None = Field(
        None, description="Maximum 99th percentile of the latency of a whole `frame`."
    )
    speedup_over_teacher: Positive | None = Field(
        None,
        description="Minimum speedup: the teacher's median latency divided by the engine's, both "
        "from the same run; for a given student, that of its FP32 engine.",
    )
    accuracy: Fraction | None = Field(None, description="Minimum top-1 on the test split.")
    macro_recall: Fraction | None = Field(
        None, description="Minimum of the mean of all classes' recall."
    )
    worst_class_recall: Fraction | None = Field(
        None, description="Minimum recall of the class that is recognized worst."
    )
    recall: dict[str, Fraction] = Field(
        default_factory=dict,
        description="Minimum recall by class: the share of a class's images that are recognized.",
    )
    precision: dict[str, Fraction] = Field(
        default_factory=dict,
        description="Minimum precision by class: the share of a class's predictions that are "
        "right.",
    )
    accuracy_drop_points: NotNegative | None = Field(
        None,
        description="Maximum loss of top-1 against the teacher, or the given student, in "
        "percentage points.",
    )
    quantization_drop_points: NotNegative | None = Field(
        None,
        description="Maximum loss of top-1 against the unquantized student, in percentage points.",
    )
    engine_size_mb: Positive | None = Field(None, description="Maximum size of the engine in MB.")

    @property
    def limits(self) -> dict[str, float]:
        """Every limit that is set, by its key; those of a class as 'recall.<class>'."""
        found: dict[str, float] = {}
        for key in type(self).model_fields:
            value = getattr(self, key)
            if isinstance(value, dict):
                found |= {f"{key}.{name}": limit for name, limit in value.items()}
            elif value is not None:
                found[key] = value
        return found

    @property
    def of_accuracy(self) -> Budgets:
        """Those of them that limit accuracy."""
        return Budgets.model_validate(self.model_dump(include=set(_OF_ACCURACY)))

    @property
    def limits_accuracy(self) -> bool:
        """Whether any of them limits top-1, which the search for mixed precision estimates."""
        limits = (self.accuracy, self.accuracy_drop_points, self.quantization_drop_points)
        return any(limit is not None for limit in limits)


_OF_ACCURACY = (
    "accuracy",
    "macro_recall",
    "worst_class_recall",
    "recall",
    "precision",
    "accuracy_drop_points",
    "quantization_drop_points",
)


class Decision(Section):
    """How scores become a class: by default, the highest wins."""

    guarded_class: str | None = Field(
        None,
        description="The class that must not be missed. An image is of this class if its "
        "probability reaches a threshold, which is chosen on the validation split for 'recall'.",
    )
    recall: Annotated[float, Field(gt=0.0, lt=1.0)] = Field(
        0.95, description="Recall of that class that the validation images must show."
    )


class Target(Section):
    """A device to build for, and its budgets."""

    target: str = Field(description="A name that `tmkd-deploy targets list` shows.")
    device: str | None = Field(
        None,
        description="Address of the device: ssh://[user@]host[:port][?python=PATH], or local for "
        "this machine. Engines are then built and measured on it. Same as the option --device.",
    )
    dla_core: Annotated[int, Field(ge=0, le=3)] | None = Field(
        None,
        description="Build INT8 and FP16 engines for this core of the deep learning "
        "accelerator (DLA); layers that it does not support run on the GPU and are listed.",
    )
    precisions: list[Precision] | None = Field(
        None,
        description="Engines that may ship, the preferred one first; the target's own list by "
        "default. The floating-point engines of a target are always built and measured.",
    )
    runtimes: list[RuntimeName] | None = Field(
        None,
        min_length=1,
        description="Runtimes that may run the engines; 'prefer' decides which ships. A "
        "processor's are `[onnxruntime, openvino]`. The target's own alone by default.",
    )
    prefer: Preference = Field(
        "latency",
        description="What decides among engines whose verdicts are equally good: the median "
        "latency, or the size of the file; of equal files, that of the target's own runtime ships.",
    )
    frame: str | None = Field(
        None,
        description="Width and height of your camera's frames, such as 640x480. The time from such "
        "a frame to its label is then measured beside that of the engines alone; on this machine "
        "only.",
    )
    budgets: Budgets = Field(Budgets(), description="Limits that the shipped engine must meet.")
    despite_verdict: bool = Field(
        False, description="Bundle the engine although its gate failed; the bundle says so."
    )

    @field_validator("runtimes")
    @classmethod
    def _runtimes_once(cls, runtimes: list[str] | None) -> list[str] | None:
        if len(set(runtimes or ())) != len(runtimes or ()):
            raise ValueError("a runtime is listed twice")
        return runtimes

    @field_validator("device")
    @classmethod
    def _is_an_address(cls, device: str | None) -> str | None:
        try:
            return device and str(parse(device))
        except RequestError as error:
            raise ValueError(f"{error.problem} {error.advice}") from error

    @field_validator("frame")
    @classmethod
    def _is_a_size(cls, frame: str | None) -> str | None:
        if frame is None:
            return None
        if not _FRAME.fullmatch(frame):
            raise ValueError("a frame is WIDTHxHEIGHT in pixels, such as 640x480")
        if problem := size_problem(*_sides(frame), "frame"):
            raise ValueError(f"no application can pass such a frame: {problem.removesuffix('.')}")
        return frame

    @model_validator(mode="after")
    def _frames_have_a_size(self) -> Target:
        if self.frame is None:
            for budget in ("frame_p50_ms", "frame_p99_ms"):
                if getattr(self.budgets, budget) is not None:
                    raise ValueError(f"'budgets.{budget}' needs 'frame', such as 'frame: 640x480'")
        return self

    @property
    def frame_size(self) -> tuple[int, int] | None:
        """Width and height of `frame` in pixels."""
        return _sides(self.frame) if self.frame else None


def _sides(frame: str) -> tuple[int, int]:
    width, height = map(int, frame.split("x"))
    return width, height
