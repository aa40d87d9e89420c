"""ONNX Runtime on the CPU: the engine is the ONNX file, which is optimised when loaded."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from tmkd_deploy.engines.engine_file import describe_engine
from tmkd_deploy.engines.interface import Session
from tmkd_deploy.engines.model_file import read_model, rejected_layer
from tmkd_deploy.engines.open_engine import open_engine
from tmkd_deploy.errors import EnvironmentProblem, MissingExtra
from tmkd_deploy.records.measurements import EngineFile
from tmkd_deploy.records.quant_scheme import QuantScheme
from tmkd_deploy.records.types import FloatPrecision, ImageSize, Precision, RuntimeName
from tmkd_deploy.runtime.session_options import SessionOptions
from tmkd_deploy.targets.target_profile import TargetProfile

if TYPE_CHECKING:
    import onnx

_INTEGER_LAYERS = {
    *("QLinearConv", "ConvInteger", "QGemm", "QLinearMatMul"),
    *("MatMulInteger", "MatMulIntegerToFloat"),
}
_FLOAT_LAYERS = {"Conv", "FusedConv", "Gemm", "FusedGemm", "MatMul", "FusedMatMul"}


class OnnxRuntime:
    """Builds and runs engines for this machine."""

    name: RuntimeName = "onnxruntime"
    quant_scheme = QuantScheme.U8
    float_precision: FloatPrecision = "fp32"
    runs_here = True
    engine_is_onnx = True

    def build(
        self,
        onnx: Path,
        precision: Precision,
        image_size: ImageSize,
        profile: TargetProfile,
        folder: Path,
    ) -> EngineFile:
        """Copy the model and count the INT8 layers in the graph as optimised on this machine."""
        proto = read_model(onnx, self.quant_scheme, image_size, profile)
        kinds = _optimised_kinds(onnx, proto, folder)
        engine = folder / f"{precision}.onnx"
        shutil.copyfile(onnx, engine)
        integers = sum(kind in _INTEGER_LAYERS for kind in kinds)
        floats = sum(kind in _FLOAT_LAYERS for kind in kinds)
        return describe_engine(precision, engine, (integers, integers + floats))

    def open(self, engine: Path, threads: int, precise_int8: bool | None = None) -> Session:
        """Load an engine as an application would; `precise_int8` as in `SessionOptions`."""
        return open_engine(self.name, engine, SessionOptions(threads, precise_int8))


def _optimised_kinds(file: Path, proto: onnx.ModelProto, scratch: Path) -> list[str]:
    """The operators of the model's graph after ONNX Runtime's optimisation on this machine.

    The optimised graph is written to `scratch`, which a killed build does not leave behind.
    """
    try:
        import onnx  # noqa: PLC0415 - needed only by builders
        import onnxruntime  # noqa: PLC0415
    except ImportError as error:
        raise MissingExtra("Building this engine", "train", error.name or "onnx") from error
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
    options.log_severity_level = 3
    with tempfile.TemporaryDirectory(dir=scratch) as folder:
        options.optimized_model_filepath = str(Path(folder) / "optimised.onnx")
        try:
            onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
        except Exception as error:  # ONNX Runtime's errors derive directly from Exception
            raise _rejected(file, error, rejected_layer(proto, str(error))) from error
        return [node.op_type for node in onnx.load(options.optimized_model_filepath).graph.node]


def _rejected(file: Path, error: Exception, layer: str | None = None) -> EnvironmentProblem:
    return EnvironmentProblem(
        f"ONNX Runtime rejects {layer or 'the model'}: {error}",
        where=str(file),
        advice="Check that this version of ONNX Runtime supports the model's opset and operators, "
        "or choose another student.",
    )
