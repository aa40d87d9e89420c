"""TensorRT-RTX: engines for GeForce and RTX GPUs, built ahead of time with no GPU present."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tmkd_deploy.agent.build.engine_layers import from_log
from tmkd_deploy.engines.engine_file import describe_engine
from tmkd_deploy.engines.int8_layers import count_int8
from tmkd_deploy.engines.model_file import read_model, rejected_layer
from tmkd_deploy.engines.tensorrt_runtime import TensorRTRuntime
from tmkd_deploy.errors import EnvironmentProblem, MissingExtra
from tmkd_deploy.records.measurements import EngineFile, TiedTo
from tmkd_deploy.records.types import ImageSize, Precision, RuntimeName, height_and_width
from tmkd_deploy.runtime.tensorrt_library import Log, logger
from tmkd_deploy.targets.target_profile import TargetProfile

if TYPE_CHECKING:
    import onnx


class TensorRTRtx(TensorRTRuntime):
    """Builds strongly typed engines, which run on RTX GPUs."""

    name: RuntimeName = "tensorrt_rtx"
    reason = "TensorRT-RTX engines run only on an RTX GPU, and running them here is not supported."
    advice = "Run the engine on its device: tmkd-deploy bundle run."

    def build(
        self,
        onnx: Path,
        precision: Precision,
        image_size: ImageSize,
        profile: TargetProfile,
        folder: Path,
    ) -> EngineFile:
        """Build for the profile's compute capability at batch size 1; keep the builder's log."""
        proto = read_model(onnx, self.quant_scheme, image_size, profile)
        try:
            import tensorrt_rtx  # noqa: PLC0415 - loaded on use
        except ImportError as error:
            raise MissingExtra("Building for RTX GPUs", "tensorrt-rtx", "tensorrt_rtx") from error
        log = logger(tensorrt_rtx)
        capability = str(profile.compute_capability)
        plan = _build(tensorrt_rtx, log, onnx, proto, precision, image_size, capability)
        engine = folder / f"{precision}.engine"
        engine.write_bytes(plan)
        layers = from_log(log.lines)
        (folder / f"{precision}.layers.json").write_text(json.dumps(layers, indent=1) + "\n")
        (folder / f"{precision}.builder.log").write_text("\n".join(log.lines) + "\n")
        tied_to = TiedTo(
            release=tensorrt_rtx.__version__,
            compute_capability=int(capability.removeprefix("SM")),
            typing="strong",
            workspace_mb=profile.workspace_mb,
            dla_core=None,
        )
        return describe_engine(precision, engine, count_int8(layers), tied_to)


def _build(
    trt: Any,
    log: Log,
    file: Path,
    proto: onnx.ModelProto,
    precision: Precision,
    image_size: ImageSize,
    capability: str,
) -> bytes:
    builder = trt.Builder(log)
    network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    parser = trt.OnnxParser(network, log)
    parsed = parser.parse(file.read_bytes())
    errors = [str(parser.get_error(index)) for index in range(parser.num_errors)]
    if not parsed or errors:
        raise _rejected(file, proto, "; ".join(errors or log.errors))
    config = builder.create_builder_config()
    known = getattr(trt.ComputeCapability, capability, None)
    if known is None:
        raise EnvironmentProblem(
            f"This TensorRT-RTX ({trt.__version__}) cannot build for {capability}.",
            advice="Install a release that can: pip install -U 'tmkd-deploy[tensorrt-rtx]'",
        )
    config.num_compute_capabilities = 1
    config.set_compute_capability(known, 0)
    config.profiling_verbosity = trt.ProfilingVerbosity.DETAILED
    if precision == "fp32":
        config.clear_flag(trt.BuilderFlag.TF32)
    shapes = builder.create_optimization_profile()
    single = (1, *height_and_width(image_size), 3)
    shapes.set_shape(network.get_input(0).name, single, single, single)
    config.add_optimization_profile(shapes)
    plan = builder.build_serialized_network(network, config)
    if plan is None:
        raise _rejected(file, proto, "; ".join(log.errors))
    return bytes(plan)


def _rejected(file: Path, proto: onnx.ModelProto, message: str) -> EnvironmentProblem:
    layer = rejected_layer(proto, message)
    return EnvironmentProblem(
        f"TensorRT-RTX rejects {layer or 'the model'}: {message or 'it gives no reason.'}",
        where=str(file),
        advice="Add the layer to quantize.exclude_layers, or choose another student.",
    )
