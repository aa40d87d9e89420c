"""What the recipe says of the way to a device: quantization, export, measurement, budgets."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, field_validator

from tmkd_deploy.devices.address import parse
from tmkd_deploy.errors import RequestError
from tmkd_deploy.recipe.section import Count, Fraction, NotNegative, Positive, Section


class Calibration(Section):
    """How the range of each activation is found."""

    method: Literal["max", "percentile", "entropy", "mse"] = Field(
        "percentile",
        description="Whether a range is the largest magnitude, a percentile, or what keeps the "
        "Kullback-Leibler divergence or the mean squared error of rounding least.",
    )
    percentile: Annotated[float, Field(gt=50.0, le=100.0)] = Field(
        99.99, description="Share in percent of the magnitudes that the method 'percentile' holds."
    )
    images: Annotated[int, Field(ge=32)] = Field(
        256, description="How many, drawn evenly by class from the training split."
    )


class Quantize(Section):
    """Quantization-aware fine-tuning with the same teachers."""

    enabled: bool = Field(True, description="Whether INT8 engines are made at all.")
    epochs: Annotated[int, Field(ge=0)] = Field(3, description="0 is post-training quantization.")
    learning_rate: Positive = Field(2e-4, description="Largest learning rate of the schedule.")
    calibration: Calibration = Field(
        Calibration(), description="How the ranges of activations are found."
    )
    exclude_layers: list[str] = Field(
        default_factory=list, description="Modules of the student kept in floating point, by name."
    )
    mixed_precision_trials: Annotated[int, Field(ge=0)] = Field(
        0,
        description="How many engines are tried, at most, to find the fewest layers that have to "
        "be left out for the INT8 engine of the first target to keep its budgets; 0 seeks none.",
    )
    control: bool = Field(
        False,
        description="Also fine-tune the student on the same schedule without quantizers, so that "
        "a gain can be told from that of training on.",
    )
    compare: list[Literal["post_training", "quantize_static", "modelopt"]] = Field(
        default_factory=list,
        description="Post-training quantization to measure beside the engines of ONNX Runtime: "
        "ours, ONNX Runtime's own, nvidia-modelopt's.",
    )

    @field_validator("compare")
    @classmethod
    def _ways_once(cls, ways: list[str]) -> list[str]:
        if len(set(ways)) != len(ways):
            raise ValueError("a way is named twice")
        return ways


class Export(Section):
    """The ONNX files that engines are built from."""

    opset: Annotated[int, Field(ge=18, le=22)] = Field(
        20, description="The ONNX opset that is written."
    )
    parity_images: Annotated[int, Field(ge=1)] = Field(
        16, description="Real images on which ONNX is checked against torch."
    )


class Measure(Section):
    """The latency protocol of `docs/explanation/latency.md`."""

    threads: Count = Field(2, description="Threads of a CPU engine.")
    warmup_seconds: Positive = Field(
        1.0, description="Seconds each engine runs before any is timed."
    )
    min_runs: Annotated[int, Field(ge=20)] = Field(
        200, description="Counted runs of each engine, at least."
    )
    min_seconds: Positive = Field(3.0, description="Counted seconds of each engine, at least.")


class Budgets(Section):
    """What the shipped engine must keep to; an absent budget asks for nothing."""

    latency_p50_ms: Positive | None = Field(None, description="Median latency at most.")
    latency_p99_ms: Positive | None = Field(None, description="99th percentile at most.")
    speedup_over_teacher: Positive | None = Field(
        None, description="Teacher's median latency over the engine's, in one run, at least."
    )
    accuracy: Fraction | None = Field(None, description="Top-1 on the test split at least.")
    accuracy_drop_points: NotNegative | None = Field(
        None, description="Points of top-1 lost against the teacher at most."
    )
    quantization_drop_points: NotNegative | None = Field(
        None, description="Points of top-1 lost against the unquantized student at most."
    )
    engine_size_mb: Positive | None = Field(None, description="Size of the engine at most.")

    @property
    def limits_accuracy(self) -> bool:
        """Whether any of them is about accuracy."""
        kinds = (self.accuracy, self.accuracy_drop_points, self.quantization_drop_points)
        return any(limit is not None for limit in kinds)


class Target(Section):
    """A device to build for, with the budgets it must meet there."""

    target: str = Field(description="A name that `tmkd-deploy targets list` shows.")
    device: str | None = Field(
        None,
        description="Where it is attached: ssh://[user@]host[:port], or local for this machine. "
        "Engines are then built and measured there. The option --device stands for it.",
    )
    dla_core: Annotated[int, Field(ge=0, le=3)] | None = Field(
        None,
        description="Build for this core of the deep learning accelerator of an attached Jetson; "
        "layers that it cannot run are listed and run on the GPU.",
    )
    precisions: list[Literal["fp32", "fp16", "int8"]] | None = Field(
        None,
        description="Engines that may ship, the preferred first; the target's own list where left "
        "out. The fp32 and fp16 engines that a target has are built and measured in any case.",
    )
    budgets: Budgets = Field(Budgets(), description="What the shipped engine must keep to.")

    @field_validator("device")
    @classmethod
    def _is_an_address(cls, device: str | None) -> str | None:
        try:
            return device and str(parse(device))
        except RequestError as error:
            raise ValueError(f"{error.problem} {error.advice}") from error
