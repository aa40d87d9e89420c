"""What a runtime must offer. One runtime is one file beside this one."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

import numpy as np

from tmkd_deploy.records.measurements import EngineFile
from tmkd_deploy.records.onnx_model import Variant
from tmkd_deploy.records.quant_scheme import QuantScheme
from tmkd_deploy.targets.target_profile import TargetProfile


class Session(Protocol):
    """An engine loaded and ready on the machine it runs on."""

    def infer(self, images: np.ndarray) -> np.ndarray:
        """Raw pixels uint8 [N, H, W, 3] to logits float32 [N, C]."""


class Runtime(Protocol):
    """Builds engines for a kind of device and, where it can, runs them here.

    `placement` is how it wants INT8 graphs, `rest` the type of what is not quantized in them.
    `runs_here` says whether `open` works on this machine, so that engines can be measured.
    """

    name: str
    quant_scheme: QuantScheme
    rest: str
    runs_here: bool

    def build(
        self, onnx: Path, precision: str, image_size: int, profile: TargetProfile, folder: Path
    ) -> EngineFile:
        """Build the engine for one precision from `onnx` and write it into `folder`.

        Raises:
            MissingExtra: the builder is not installed.
            EnvironmentProblem: the builder refuses the model; the layer is named and its own words
                are passed on.
            DataError: the file is broken, or was made for another target or another size.
        """

    def open(self, engine: Path, threads: int) -> Session:
        """Load an engine that `build` wrote."""


def variant_for(runtime: Runtime, precision: str) -> Variant:
    """The ONNX file of the student that `runtime` builds `precision` from."""
    if precision == "int8":
        return Variant("student", "int8", runtime.quant_scheme, runtime.rest)  # type: ignore[arg-type]
    return Variant("student", precision)  # type: ignore[arg-type]
