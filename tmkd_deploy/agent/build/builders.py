"""The three ways to build an engine: the ONNX file itself, TensorRT's module, and trtexec."""

from __future__ import annotations

import contextlib
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from tmkd_deploy.agent import child_processes
from tmkd_deploy.agent.agent_errors import ENVIRONMENT, OUT_OF_MEMORY, REQUEST, AgentError
from tmkd_deploy.agent.build import engine_layers as layer_lists
from tmkd_deploy.agent.build import layer_types, preflight, tensorrt_build, trtexec
from tmkd_deploy.agent.inference import sessions
from tmkd_deploy.agent.telemetry.system_files import memory_mb
from tmkd_deploy.agent.transport.context import cache_key
from tmkd_deploy.agent.transport.request_fields import field, optional

if TYPE_CHECKING:
    from tmkd_deploy.agent.transport.context import Context

# A Jetson's GPU shares the system's memory. Half of what is free leaves as much for the weights,
# the builder's kernels and everything else.
WORKSPACE_SHARE = 0.5
_TIMEOUT_SECONDS = 4 * 3600.0  # a large network takes more than an hour on the smallest modules
# imports this package again from where it was loaded, a zip or a folder
_START_BUILDER = (
    "import sys; sys.path.insert(0, sys.argv.pop(1)); "
    "from tmkd_deploy.agent.build.tensorrt_build import main; main()"
)


class BuildResult(NamedTuple):
    """A built engine, and everything its manifest records of the build.

    `is_new` is False where the engine is the ONNX file itself, which has no `log`. `layers` has one
    entry per layer and is empty where they are unknown; `gpu_fallback_layers` names those that left
    the DLA. `details` holds the typing, why strong typing failed if it did, the command line if
    there was one, and the configuration.
    """

    engine: Path
    is_new: bool
    log: Path | None
    layers: list[dict[str, Any]]
    gpu_fallback_layers: list[str]
    details: dict[str, Any]


def run_builder(
    builder: str | None,
    request: dict[str, Any],
    onnx: Path,
    device_identity: dict[str, Any],
    context: Context,
) -> BuildResult:
    """Build with `builder`: a module's name, the path of trtexec, or None if the runtime
    runs the ONNX file itself.

    `device_identity` is what the engine's manifest records of the device and its software.

    Raises:
        AgentError, ImportError: as `build_request.build`.
    """
    runtime = field(request, "runtime", str)
    if builder is None:
        return _use_onnx_file(runtime, onnx)
    job = _job(request, onnx, device_identity, context)
    if builder == runtime:
        return _build_with_module(job, context)
    return _build_with_trtexec(builder, device_identity["versions"]["runtime"], job, context)


def _job(
    request: dict[str, Any], onnx: Path, device_identity: dict[str, Any], context: Context
) -> dict[str, Any]:
    """A builder's parameters, as JSON values."""
    runtime = field(request, "runtime", str)
    precision = field(request, "precision", str)
    if precision not in ("int8", "fp16", "fp32"):
        raise AgentError(REQUEST, f"Unknown precision {precision!r}.")
    free = free_memory_mb()
    requested = optional(request, "workspace_mb", int)
    given = workspace_mb(requested, free)
    if requested is not None and given < requested:
        context.writer.warn(
            f"The builder gets a workspace of {given} MB instead of {requested} MB: "
            f"{free} MB are free."
        )
    numbers = preflight.release_of(device_identity["versions"]["runtime"]) or ()
    if runtime == "tensorrt" and () < numbers < (8, 5):
        raise AgentError(
            ENVIRONMENT,
            f"TensorRT {device_identity['versions']['runtime']} cannot read uint8 images; 8.5 and "
            "newer can.",
            advice="Flash JetPack 5.1 or later.",
        )
    cache = optional(request, "calibration", str)
    return {
        "runtime": runtime,
        "onnx": str(onnx),
        "precision": precision,
        "input": field(request, "input", str),
        "height": field(request, "height", int),
        "width": field(request, "width", int),
        "typing": optional(request, "typing", str) or "strong",
        "free_mb": free,
        "workspace_mb": given,
        "dla_core": optional(request, "dla_core", int),
        "calibration": None if cache is None else str(context.stored_file(cache)),
        "gpu_fallback": optional(request, "gpu_fallback", bool) is not False,
        "compute_capability": optional(request, "compute_capability", str),
        "timing_cache": _timing_cache(runtime, device_identity, context),
    }


def _timing_cache(runtime: str, device_identity: dict[str, Any], context: Context) -> str | None:
    """The path of the cache for this device and release.

    None for TensorRT-RTX, where a cache has no effect and would need a GPU
    (https://docs.nvidia.com/deeplearning/tensorrt-rtx/1.4/getting-started/release-notes-1/1.1.html).
    """
    if runtime != "tensorrt":
        return None
    folder = context.folder / "timing"
    folder.mkdir(exist_ok=True)
    device = cache_key(device_identity["device"])[:16]
    return str(folder / f"{runtime}-{device_identity['versions']['runtime']}-{device}.cache")


def _use_onnx_file(runtime: str, onnx: Path) -> BuildResult:
    """Only check that the runtime loads the file here."""
    sessions.open_session(runtime, onnx, threads=1, precise_int8=None)
    return BuildResult(onnx, False, None, [], [], {"typing": "strong", "command": None})


def _build_with_module(job: dict[str, Any], context: Context) -> BuildResult:
    """Build in a child process, which the out-of-memory killer can take without the agent."""
    folder = context.scratch()
    (folder / tensorrt_build.JOB).write_text(json.dumps(job), encoding="utf-8")
    root = str(Path(__file__).parents[3])  # beside `tmkd_deploy`
    argv = [sys.executable, "-c", _START_BUILDER, root, str(folder)]
    outcome_path = folder / tensorrt_build.OUTCOME
    finished = _run(argv, job, context)
    if not outcome_path.is_file():
        last = finished.output.strip().splitlines()[-5:]
        raise AgentError(
            ENVIRONMENT,
            f"The builder exited with status {finished.returncode} and no result: "
            f"{' '.join(last) or 'it printed nothing.'}",
            advice="Run again; if this recurs, try a newer release of TensorRT.",
        )
    outcome = json.loads(outcome_path.read_text(encoding="utf-8"))
    if "error" in outcome:
        raise AgentError(*outcome["error"])
    failed = outcome["strong_typing_failed"]
    if failed is not None:
        context.writer.warn(layer_types.fallback_warning(failed))
    return BuildResult(
        folder / tensorrt_build.PLAN,
        True,
        folder / tensorrt_build.LOG,
        outcome["layers"],
        outcome["gpu_fallback_layers"],
        {
            "typing": outcome["typing"],
            "strong_typing_failed": failed,
            "command": None,
            "configuration": _configuration(job),
        },
    )


def _build_with_trtexec(
    program: str, release: str, job: dict[str, Any], context: Context
) -> BuildResult:
    folder = context.scratch()
    layers_path = folder / "layers.json"
    plan = folder / tensorrt_build.PLAN
    numbers = preflight.release_of(release) or ()
    job = {**job, "plan": str(plan), "layers": str(layers_path)}
    command = trtexec.build_command(program, numbers, job)
    finished, failed = _run(command, job, context), None
    typing = trtexec.typing_name(numbers, job["typing"], job["dla_core"] is not None)
    words = "; ".join(trtexec.parse(finished.output).errors)
    retry = layer_types.try_flags(typing, numbers < (11,), job["precision"], words)
    if retry and not trtexec.is_built(finished, plan):
        failed = words[:2000]
        typing, job = "flags", {**job, "typing": "flags"}
        command = trtexec.build_command(program, numbers, job)
        finished = _run(command, job, context)
    trtexec.check_built(finished, plan)
    if failed is not None:
        context.writer.warn(layer_types.fallback_warning(failed))
    log = folder / tensorrt_build.LOG
    log.write_text(finished.output, encoding="utf-8")
    layers: list[dict[str, Any]] = []
    with contextlib.suppress(OSError, ValueError):  # an engine does without a list of its layers
        layers = layer_lists.from_inspector(layers_path.read_text(encoding="utf-8"))
    return BuildResult(
        plan,
        True,
        log,
        layers,
        layer_lists.gpu_fallback_layers(finished.output.splitlines()),
        {
            "typing": typing,
            "strong_typing_failed": failed,
            "command": command,
            "configuration": _configuration(job),
        },
    )


def _configuration(job: dict[str, Any]) -> dict[str, Any]:
    size = ("input", "height", "width")
    names = (*size, "workspace_mb", "free_mb", "gpu_fallback", "compute_capability")
    return {name: job[name] for name in names}


def _run(
    argv: list[str], job: dict[str, Any], context: Context
) -> child_processes.CompletedProgram:
    try:
        return child_processes.run(argv, context.children, _TIMEOUT_SECONDS)
    except AgentError as error:
        if error.code != OUT_OF_MEMORY:
            raise
        raise AgentError(
            OUT_OF_MEMORY,
            f"{error.problem} When it started, {job['free_mb']} MB were free, of which "
            f"{job['workspace_mb']} MB were its workspace.",
            error.where,
            error.advice,
        ) from error


def free_memory_mb() -> int:
    """The memory that a program can allocate now without swapping, in MiB."""
    return memory_mb()["MemAvailable"]


def workspace_mb(requested: int | None, free_mb: int) -> int:
    """The workspace for trying kernels: as requested, within a builder's share of free memory."""
    most = max(1, int(free_mb * WORKSPACE_SHARE))
    return most if requested is None else min(requested, most)
