"""ONNX Runtime on the CPU: the engine is the ONNX file itself, optimised when it is loaded."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from tmkd_deploy.artifacts import sha256_of
from tmkd_deploy.engines.interface import Session
from tmkd_deploy.engines.model_file import read_model, refused_layer
from tmkd_deploy.errors import EnvironmentProblem, MissingExtra
from tmkd_deploy.records.measurements import EngineFile
from tmkd_deploy.records.quant_scheme import QuantScheme
from tmkd_deploy.records.types import FloatPrecision, Precision, RuntimeName
from tmkd_deploy.runtime.onnxruntime_session import create_session
from tmkd_deploy.targets.target_profile import TargetProfile

if TYPE_CHECKING:
    import onnx

_INTEGER_LAYERS = {
    *("QLinearConv", "ConvInteger", "QGemm", "QLinearMatMul"),
    *("MatMulInteger", "MatMulIntegerToFloat"),
}
_FLOAT_LAYERS = {"Conv", "FusedConv", "Gemm", "FusedGemm", "MatMul", "FusedMatMul"}


class OnnxRuntime:
    """Builds and runs engines for the machine this program runs on."""

    name: RuntimeName = "onnxruntime"
    quant_scheme = QuantScheme.U8
    float_precision: FloatPrecision = "fp32"
    runs_here = True

    def build(
        self,
        onnx: Path,
        precision: Precision,
        image_size: int,
        profile: TargetProfile,
        folder: Path,
    ) -> EngineFile:
        """Copy the model and count, in the graph as optimised here, the layers in integers."""
        proto = read_model(onnx, self.quant_scheme, image_size, profile)
        kinds = _optimised_kinds(onnx, proto)
        engine = folder / f"{precision}.onnx"
        shutil.copyfile(onnx, engine)
        integers = sum(kind in _INTEGER_LAYERS for kind in kinds)
        return EngineFile(
            precision=precision,
            file=engine.name,
            bytes=engine.stat().st_size,
            sha256=sha256_of(engine),
            int8_layers=integers,
            total_layers=integers + sum(kind in _FLOAT_LAYERS for kind in kinds),
        )

    def open(self, engine: Path, threads: int, precise_int8: bool | None = None) -> Session:
        """Load an ONNX engine as an application would; `precise_int8` as in `create_session`."""
        return _OnnxSession(engine, threads, precise_int8)


class _OnnxSession:
    def __init__(self, engine: Path, threads: int, precise_int8: bool | None) -> None:
        try:
            self._session = create_session(str(engine), threads=threads, precise_int8=precise_int8)
        except ImportError as error:
            raise MissingExtra("Running this engine", "onnxruntime", "onnxruntime") from error
        except Exception as error:  # ONNX Runtime's classes derive from Exception alone
            raise _refused(engine, error) from error
        self._input = self._session.get_inputs()[0].name

    def infer(self, images: np.ndarray) -> np.ndarray:
        logits: np.ndarray = self._session.run(None, {self._input: images})[0]
        return logits


def _optimised_kinds(file: Path, proto: onnx.ModelProto) -> list[str]:
    """The operators of the graph that ONNX Runtime makes of the model on this machine."""
    try:
        import onnx  # noqa: PLC0415 - only builders need it
        import onnxruntime  # noqa: PLC0415
    except ImportError as error:
        raise MissingExtra("Building this engine", "train", error.name or "onnx") from error
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
    options.log_severity_level = 3
    with tempfile.TemporaryDirectory() as folder:
        options.optimized_model_filepath = str(Path(folder) / "optimised.onnx")
        try:
            onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
        except Exception as error:  # ONNX Runtime's classes derive from Exception alone
            raise _refused(file, error, refused_layer(proto, str(error))) from error
        return [node.op_type for node in onnx.load(options.optimized_model_filepath).graph.node]


def _refused(file: Path, error: Exception, layer: str | None = None) -> EnvironmentProblem:
    return EnvironmentProblem(
        f"ONNX Runtime refuses {layer or 'the model'}: {error}",
        where=str(file),
        advice="Check that this version of ONNX Runtime reads the model's opset and has its "
        "operators; another student may do without them.",
    )
