"""The `build` request: builds an engine on the device that runs it, with a manifest beside it."""

from __future__ import annotations

import importlib.util
import json
import time
from typing import TYPE_CHECKING, Any

from tmkd_deploy.agent.agent_errors import DATA, ENVIRONMENT, AgentError
from tmkd_deploy.agent.build import preflight
from tmkd_deploy.agent.build.builders import BuildResult, run_builder
from tmkd_deploy.agent.inference import sessions
from tmkd_deploy.agent.shell import program
from tmkd_deploy.agent.telemetry.identity import engine_identity
from tmkd_deploy.agent.telemetry.versions import trtexec_version
from tmkd_deploy.agent.transport.context import cache_key
from tmkd_deploy.agent.transport.request_fields import field, optional
from tmkd_deploy.runtime.onnx_metadata import metadata_of

if TYPE_CHECKING:
    from pathlib import Path

    from tmkd_deploy.agent.transport.context import Context

_RUN_ONNX_FILES = ("onnxruntime", "openvino")
SIDECAR_SCHEMA = 3  # also part of the key of cached builds: raise it where builds change


def build(request: dict[str, Any], context: Context) -> dict[str, Any]:
    """Build an engine; cached for the same request, device and release.

    Raises:
        AgentError: `data`: the ONNX file is missing, is not a model, or is for another runtime;
            `environment`: the builder is missing, rejects the model or lacks a requested feature;
            `out_of_memory`: the build was killed or ran out of memory.
        ImportError: the runtime is not installed for this Python.
    """
    onnx = context.stored_file(field(request, "onnx", str))
    metadata = read_metadata(onnx)
    runtime = field(request, "runtime", str)
    _require_quant_scheme(runtime, metadata)
    builder = _builder(runtime)
    release = _release(runtime, builder)
    device_identity = engine_identity(release, optional(request, "compute_capability", str))
    parameters = {name: value for name, value in request.items() if name != "id"}
    key = cache_key(
        {**device_identity, "request": parameters, "builder": builder, "schema": SIDECAR_SCHEMA}
    )

    def make() -> dict[str, Any]:
        started = time.monotonic()
        built = run_builder(builder, request, onnx, device_identity, context)
        sidecar = {
            "schema": SIDECAR_SCHEMA,
            "runtime": runtime,
            "precision": field(request, "precision", str),
            "onnx": {"sha256": field(request, "onnx", str), "metadata": metadata},
            **device_identity,
            "dla": {
                "core": optional(request, "dla_core", int),
                "calibration": optional(request, "calibration", str),
                "gpu_fallback_layers": built.gpu_fallback_layers,
            },
            "build": {**built.details, "seconds": round(time.monotonic() - started, 1)},
            "built_at": round(time.time()),
        }
        return _store(built, sidecar, context)

    answer, reused = context.cached(key, make, files=("engine", "layers", "log"))
    engine = context.stored_file(answer["engine"])
    if engine != onnx:  # an ONNX file runs anywhere, so it needs no manifest
        sidecar = json.dumps(answer["sidecar"], indent=1) + "\n"
        preflight.sidecar_of(engine).write_text(sidecar, encoding="utf-8")
    return {**answer, "reused": reused}


def read_metadata(onnx: Path) -> dict[str, str]:
    """The metadata of an ONNX file: key to value.

    Raises:
        AgentError: `data`: the file is not a protocol buffer, or has no graph.
    """
    try:
        return metadata_of(memoryview(onnx.read_bytes()))
    except ValueError as error:
        raise AgentError(
            DATA, "The file is not an ONNX model.", str(onnx), "Export the student again."
        ) from error


def _require_quant_scheme(runtime: str, metadata: dict[str, str]) -> None:
    """Refuse a model for another runtime: TensorRT reads uint8 as int8 with a mere warning."""
    required = "unsigned" if runtime in _RUN_ONNX_FILES else "signed"
    quant_scheme = metadata.get("tmkd_deploy.quant_scheme", "none")
    if quant_scheme not in ("none", required):
        raise AgentError(
            DATA,
            f"This model was quantized for another runtime: its activations are {quant_scheme}, "
            f"but {runtime} needs {required} ones.",
            advice="Export the student for this target.",
        )


def _builder(runtime: str) -> str | None:
    """A module's name, or the path of trtexec without that module; None if no builder is needed."""
    if runtime in _RUN_ONNX_FILES:
        return None
    if runtime == "tensorrt" and importlib.util.find_spec(runtime) is None:
        return program("trtexec") or runtime
    return runtime


def _release(runtime: str, builder: str | None) -> str:
    if builder in (None, runtime):
        return sessions.version(runtime)
    assert builder is not None
    release = trtexec_version(builder)
    if release is None:
        raise AgentError(
            ENVIRONMENT,
            "trtexec does not print its version.",
            builder,
            "Run it on the device yourself: it should print its version first.",
        )
    return release


def _store(built: BuildResult, sidecar: dict[str, Any], context: Context) -> dict[str, Any]:
    """Move the engine, its layers and its log into the store."""
    size = built.engine.stat().st_size
    log = context.store_file(built.log) if built.log else None
    layers = _keep_text(json.dumps(built.layers, indent=1), context) if built.layers else None
    engine = context.store_file(built.engine) if built.is_new else sidecar["onnx"]["sha256"]
    sidecar = {**sidecar, "engine": {"sha256": engine, "bytes": size}}
    sidecar["build"]["log"] = log
    return {"engine": engine, "bytes": size, "sidecar": sidecar, "layers": layers, "log": log}


def _keep_text(text: str, context: Context) -> str:
    path = context.folder / "scratch" / "text"
    path.write_text(text, encoding="utf-8")
    return context.store_file(path)
