"""Builds an engine with TensorRT's Python module, as a child process.

Builders use more memory than anything else on a small device, and when it runs out the kernel kills
the builder. Because that is a separate process, the agent survives and can report it. The job is a
JSON file; the outcome is written to files beside it.
"""

from __future__ import annotations

import contextlib
import json
import sys
from pathlib import Path
from typing import Any, NamedTuple

from tmkd_deploy.agent.agent_errors import (
    DATA,
    ENVIRONMENT,
    AgentError,
    engine_errors_translated,
)
from tmkd_deploy.agent.build import engine_layers
from tmkd_deploy.agent.build.builder_log import builder_log
from tmkd_deploy.agent.build.layer_types import Typing, choose_typing, try_flags
from tmkd_deploy.runtime import gpu_access
from tmkd_deploy.runtime.engine_errors import RejectedEngineError, RuntimeUnusableError
from tmkd_deploy.runtime.tensorrt_library import TITLES, failure, load

JOB, OUTCOME, PLAN, LOG = "job.json", "outcome.json", "engine.plan", "build.log"


class Attempt(NamedTuple):
    """A plan, or None if the builder failed; the layers that the DLA refused; the timing cache."""

    plan: Any
    refused: list[str]
    timings: Any


def main() -> None:
    """Run the job in the folder named by the first argument."""
    folder = Path(sys.argv[1])
    job = json.loads((folder / JOB).read_text(encoding="utf-8"))
    outcome: dict[str, Any]
    try:
        outcome = build(job, folder)
    except AgentError as error:
        outcome = {"error": [error.code, error.problem, error.where, error.advice]}
    (folder / OUTCOME).write_text(json.dumps(outcome), encoding="utf-8")


def build(job: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Write the plan and the log.

    Returns:
        `typing`; `layers`; `gpu_fallback_layers`, those that left the DLA; `strong_typing_failed`:
        the reason if a first attempt with strong typing failed, else None.

    Raises:
        AgentError: `data`: the file is not an ONNX model; `environment`: the builder rejects it, or
            the device lacks a requested feature; `out_of_memory`: the builder ran out of memory.
    """
    trt = load(job["runtime"])
    log = builder_log(trt, folder / LOG)
    try:
        with engine_errors_translated():
            return _build(trt, log, job, folder)
    finally:
        log.end()


def _build(trt: Any, log: Any, job: dict[str, Any], folder: Path) -> dict[str, Any]:
    try:
        builder = trt.Builder(log)
    except TypeError as error:  # raised for a null pointer: github.com/NVIDIA/TensorRT/issues/2913
        problem = "The builder cannot start:"
        raise failure(RuntimeUnusableError, problem, log, gpu_access.advice()) from error
    dla, failed = job["dla_core"] is not None, None
    typing = choose_typing(trt, job["typing"], job["precision"], dla)
    attempt = _attempt(trt, log, builder, typing, job)
    has_flags = hasattr(trt.BuilderFlag, "INT8")
    if attempt.plan is None and try_flags(typing.name, has_flags, job["precision"], log.reason()):
        failed = log.reason()[:2000]
        log.errors.clear()
        typing = choose_typing(trt, "flags", job["precision"], dla)
        attempt = _attempt(trt, log, builder, typing, job)
    if attempt.plan is None:
        raise failure(
            RejectedEngineError,
            f"{TITLES[job['runtime']]} cannot build the engine:",
            log,
            "If a layer is named, exclude it from quantization or choose another student.",
        )
    (folder / PLAN).write_bytes(attempt.plan)
    if attempt.timings is not None:
        with contextlib.suppress(OSError):  # it would only have made the next build faster
            _save_timings(attempt.timings, Path(job["timing_cache"]))
    return {
        "typing": typing.name,
        "strong_typing_failed": failed,
        "layers": _layers(trt, log, attempt.plan, elsewhere=job["compute_capability"] is not None),
        "gpu_fallback_layers": list(
            dict.fromkeys([*attempt.refused, *engine_layers.gpu_fallback_layers(log.lines())])
        ),
    }


def _attempt(trt: Any, log: Any, builder: Any, typing: Typing, job: dict[str, Any]) -> Attempt:
    """Read the model and build it, its types chosen by `typing`."""
    network = builder.create_network(typing.network_flags)
    _parse(trt, log, network, job)
    config = configure(trt, builder, typing, job)
    if -1 in tuple(network.get_input(0).shape):
        config.add_optimization_profile(_profile(builder, network, job))
    if job["compute_capability"] is not None:
        _set_compute_capability(trt, config, job["compute_capability"])
    refused = [] if job["dla_core"] is None else _use_dla(trt, builder, config, network, job)
    # neither configuration nor builder keeps it alive
    scales = None if job["calibration"] is None else cached_scales(trt, Path(job["calibration"]))
    if scales is not None:
        config.int8_calibrator = scales
    timings = _timing_cache(config, job["timing_cache"])
    return Attempt(builder.build_serialized_network(network, config), refused, timings)


def cached_scales(trt: Any, cache: Path) -> Any:
    """A calibrator that has no images, only a cache with the scales of the tensors."""

    class CachedScales(trt.IInt8EntropyCalibrator2):  # type: ignore[misc]
        def __init__(self) -> None:
            trt.IInt8EntropyCalibrator2.__init__(self)

        def get_batch_size(self) -> int:
            return 1

        def get_batch(self, names: list[str]) -> None:
            """No more images: asked for only if the cache is refused, which fails the build."""

        def read_calibration_cache(self) -> bytes:
            return cache.read_bytes()

        def write_calibration_cache(self, written: Any) -> None:
            """Keep the cache as it is."""

    return CachedScales()


def configure(trt: Any, builder: Any, typing: Typing, job: dict[str, Any]) -> Any:
    """A builder configuration for the job: its log's detail, workspace and types.

    FP32 is FP32: TensorRT would compute it as TF32 by default, with the mantissa of FP16, wherever
    the GPU has it (Ampere and newer).
    """
    config = builder.create_builder_config()
    config.profiling_verbosity = trt.ProfilingVerbosity.DETAILED
    config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, job["workspace_mb"] << 20)
    if job["precision"] == "fp32":
        config.clear_flag(trt.BuilderFlag.TF32)
    for flag in typing.builder_flags:
        config.set_flag(getattr(trt.BuilderFlag, flag))
    return config


def _parse(trt: Any, log: Any, network: Any, job: dict[str, Any]) -> None:
    parser = trt.OnnxParser(network, log)
    parsed = parser.parse(Path(job["onnx"]).read_bytes())
    errors = [parser.get_error(at) for at in range(parser.num_errors)]
    unreadable = getattr(trt.ErrorCode, "MODEL_DESERIALIZE_FAILED", None)
    # garbage may parse into an empty network without an error
    if any(error.code() == unreadable for error in errors) or (parsed and not network.num_layers):
        raise AgentError(DATA, "The file is not an ONNX model.", None, "Export the student again.")
    if not parsed or errors:
        words = "; ".join(str(error) for error in errors) or log.reason()
        raise AgentError(
            ENVIRONMENT,
            f"{TITLES[job['runtime']]} {trt.__version__} rejects the model: {words}",
            None,
            "If an operator is unsupported, choose another student; if the opset is too new, "
            "export with a lower one.",
        )
    _check_ends(network, job)


def _check_ends(network: Any, job: dict[str, Any]) -> None:
    inputs = [network.get_input(at) for at in range(network.num_inputs)]
    found = [f"{tensor.name} {tuple(tensor.shape)}" for tensor in inputs]
    height, width = job["height"], job["width"]
    wanted = [f"{job['input']} ({batch}, {height}, {width}, 3)" for batch in (-1, 1)]
    if len(found) != 1 or found[0] not in wanted or network.num_outputs != 1:
        raise AgentError(
            DATA,
            f"The model must have the input {wanted[0]} only, and one output; its inputs are "
            f"{', '.join(found)}, and it has {network.num_outputs} outputs.",
            None,
            "Export the student again, for this image size.",
        )


def _profile(builder: Any, network: Any, job: dict[str, Any]) -> Any:
    """A profile for one image at a time, as from a camera."""
    profile = builder.create_optimization_profile()
    one = (1, job["height"], job["width"], 3)
    profile.set_shape(network.get_input(0).name, one, one, one)
    return profile


def _set_compute_capability(trt: Any, config: Any, capability: str) -> None:
    """Build for this compute capability, such as SM89, instead of this machine's GPU."""
    known = getattr(getattr(trt, "ComputeCapability", None), capability, None)
    if known is None:
        raise AgentError(
            ENVIRONMENT,
            f"This builder ({trt.__version__}) does not build for {capability}.",
            None,
            "Install a release that does.",
        )
    config.num_compute_capabilities = 1
    config.set_compute_capability(known, 0)


def _use_dla(trt: Any, builder: Any, config: Any, network: Any, job: dict[str, Any]) -> list[str]:
    """Prefer the requested DLA core; returns the layers that it cannot run."""
    core = job["dla_core"]
    if core >= builder.num_DLA_cores:
        raise AgentError(
            ENVIRONMENT,
            f"DLA core {core} was requested, but TensorRT {trt.__version__} finds "
            f"{builder.num_DLA_cores} DLA cores on this device.",
            None,
            "Build for the GPU. TensorRT 10.7 was the last 10.x with DLA support, and not every "
            "module has a DLA.",
        )
    config.default_device_type = trt.DeviceType.DLA
    config.DLA_core = core
    every = [network.get_layer(at) for at in range(network.num_layers)]
    refused = [layer.name for layer in every if not config.can_run_on_DLA(layer)]
    if job["gpu_fallback"]:
        config.set_flag(trt.BuilderFlag.GPU_FALLBACK)
    elif refused:
        raise AgentError(
            ENVIRONMENT,
            f"{len(refused)} of the {len(every)} layers cannot run on the DLA, and GPU fallback is "
            f"disabled: {', '.join(refused[:10])}.",
            None,
            "Enable GPU fallback, or choose a student that the DLA supports entirely.",
        )
    return refused


def _timing_cache(config: Any, path: str | None) -> Any:
    """The kernel timings of earlier builds, so that they need not be measured again.

    `path` is None for TensorRT-RTX, where a cache has no effect and needs a GPU (release notes
    1.1). If the builder rejects the cache, as of another device or release, start an empty one.
    """
    if path is None or not hasattr(config, "create_timing_cache"):
        return None
    file = Path(path)
    cache = config.create_timing_cache(file.read_bytes() if file.is_file() else b"")
    if cache is None or not config.set_timing_cache(cache, False):
        cache = config.create_timing_cache(b"")
        config.set_timing_cache(cache, False)
    return cache


def _save_timings(cache: Any, path: Path) -> None:
    unfinished = path.with_suffix(".part")
    unfinished.write_bytes(cache.serialize())
    unfinished.replace(path)


def _layers(trt: Any, log: Any, plan: Any, elsewhere: bool) -> list[dict[str, Any]]:
    """The layers from the engine inspector or, for a plan of another GPU, from the log."""
    engine = None if elsewhere else trt.Runtime(log).deserialize_cuda_engine(plan)
    if engine is None:
        return engine_layers.from_log(log.lines())
    inspector = engine.create_engine_inspector()
    text = inspector.get_engine_information(trt.LayerInformationFormat.JSON)
    try:
        return engine_layers.from_inspector(text)
    except ValueError:  # as of a name with a stray quote; the engine is none the worse for it
        return engine_layers.from_log(log.lines())


if __name__ == "__main__":
    main()
