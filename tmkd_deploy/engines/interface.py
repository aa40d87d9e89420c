"""The interface of runtimes; each runtime is one file in this package."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

import numpy as np

from tmkd_deploy.records.measurements import EngineFile
from tmkd_deploy.records.onnx_model import Variant
from tmkd_deploy.records.quant_scheme import QuantScheme
from tmkd_deploy.records.types import FloatPrecision, ImageSize, Precision, RuntimeName
from tmkd_deploy.targets.target_profile import TargetProfile


class Session(Protocol):
    """An engine that is loaded and ready to run."""

    def infer(self, images: np.ndarray) -> np.ndarray:
        """Map raw pixels, uint8 [N, H, W, 3], to logits, float32 [N, C]."""


class Runtime(Protocol):
    """Builds engines for one kind of device and, if it can, runs them on this machine.

    Attributes:
        name: as target profiles and bundles have it.
        quant_scheme: of the INT8 graphs it accepts.
        float_precision: of everything that is not quantized in INT8 graphs.
        runs_here: whether `open` works on this machine, so that engines can be measured.
        engine_is_onnx: whether an engine is its ONNX file, so that any such file is an engine.
    """

    name: RuntimeName
    quant_scheme: QuantScheme
    float_precision: FloatPrecision
    runs_here: bool
    engine_is_onnx: bool

    def build(
        self,
        onnx: Path,
        precision: Precision,
        image_size: ImageSize,
        profile: TargetProfile,
        folder: Path,
    ) -> EngineFile:
        """Build an engine from `onnx` and write it into `folder`.

        Raises:
            MissingExtra: the builder is not installed.
            EnvironmentProblem: the builder rejects the model; the error names the layer and quotes
                the builder's message.
            DataError: the file is damaged, or was exported for another target or image size.
        """

    def open(self, engine: Path, threads: int) -> Session:
        """Load an engine that `build` wrote."""


def variant_for(runtime: Runtime, precision: Precision) -> Variant:
    """The student's ONNX variant that `runtime` builds `precision` from."""
    if precision == "int8":
        return Variant("student", "int8", runtime.quant_scheme, runtime.float_precision)
    return Variant("student", precision)
