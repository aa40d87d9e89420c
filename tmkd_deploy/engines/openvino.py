"""OpenVINO on the CPU: the engine is the ONNX file, which is compiled when loaded.

OpenVINO has formats of its own, but its IR is two files, and a compiled model fits one release and
one kind of processor. `runtime/onnx_check.py` could check neither before it is loaded.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from tmkd_deploy.engines.engine_file import describe_engine
from tmkd_deploy.engines.interface import Session
from tmkd_deploy.engines.model_file import read_model, rejected_layer
from tmkd_deploy.engines.open_engine import open_engine
from tmkd_deploy.engines.openvino_layers import compiled_layers, count_int8
from tmkd_deploy.errors import EnvironmentProblem, MissingExtra
from tmkd_deploy.records.measurements import EngineFile
from tmkd_deploy.records.quant_scheme import QuantScheme
from tmkd_deploy.records.types import FloatPrecision, ImageSize, Precision, RuntimeName
from tmkd_deploy.runtime.openvino_session import compile_model, words
from tmkd_deploy.runtime.session_options import SessionOptions
from tmkd_deploy.targets.target_profile import TargetProfile

if TYPE_CHECKING:
    import onnx
    import openvino


class OpenVino:
    """Builds and runs engines for this machine."""

    name: RuntimeName = "openvino"
    # with eight bits for weights, x86 processors without VNNI would saturate
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
        """Copy the model and count the INT8 layers in what it is compiled to on this machine."""
        proto = read_model(onnx, self.quant_scheme, image_size, profile)
        layers = count_int8(compiled_layers(compile_file(onnx, 1, proto)))
        engine = folder / f"{precision}.onnx"
        shutil.copyfile(onnx, engine)
        return describe_engine(precision, engine, layers)

    def open(self, engine: Path, threads: int) -> Session:
        """Load an engine as an application would."""
        return open_engine(self.name, engine, SessionOptions(threads))


def compile_file(
    file: Path, threads: int, proto: onnx.ModelProto | None = None, *, timed: bool = False
) -> openvino.CompiledModel:
    """Compile a file that `read_model` accepts, as a session does.

    Args:
        file: the ONNX file.
        threads: of the session.
        proto: its content, for the name of a layer that OpenVINO rejects.
        timed: record how long each layer takes.

    Raises:
        MissingExtra: OpenVINO is not installed.
        EnvironmentProblem: OpenVINO rejects the model.
    """
    try:
        return compile_model(str(file), threads=threads, timed=timed)
    except ImportError as error:
        raise MissingExtra("This engine", "openvino", "openvino") from error
    except Exception as error:  # some of OpenVINO's errors derive directly from Exception
        told = words(error)
        # of an operator from outside the standard, it names the domain too: com.example.Mystery
        texts = (told, told.replace(".", " ")) if proto else ()
        layer = next(filter(None, (rejected_layer(proto, text) for text in texts)), None)
        raise EnvironmentProblem(
            f"OpenVINO rejects {layer or 'the model'}: {told}",
            where=str(file),
            advice="Check that this version of OpenVINO supports the model's opset and operators, "
            "or choose another student.",
        ) from error
