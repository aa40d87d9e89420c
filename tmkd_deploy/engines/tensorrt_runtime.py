"""What the TensorRT runtimes have in common: INT8 graphs, and engines that do not run here."""

from __future__ import annotations

from pathlib import Path

from tmkd_deploy.engines.interface import Session
from tmkd_deploy.errors import EnvironmentProblem
from tmkd_deploy.records.quant_scheme import QuantScheme
from tmkd_deploy.records.types import FloatPrecision


class TensorRTRuntime:
    """Base of the TensorRT runtimes; subclasses say why their engines do not run here."""

    quant_scheme = QuantScheme.S8
    float_precision: FloatPrecision = "fp16"
    runs_here = False
    engine_is_onnx = False
    reason: str
    advice: str

    def open(self, engine: Path, threads: int) -> Session:
        """Not supported.

        Raises:
            EnvironmentProblem: always.
        """
        raise EnvironmentProblem(self.reason, where=str(engine), advice=self.advice)
