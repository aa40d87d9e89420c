"""The `cpp_run` request: build the C++ runtime on this device, and run a bundle with it."""

from __future__ import annotations

import importlib.util
import os
import shutil
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tmkd_deploy.agent import child_processes
from tmkd_deploy.agent.agent_errors import DATA, ENVIRONMENT, AgentError
from tmkd_deploy.agent.shell import program
from tmkd_deploy.agent.transport.request_fields import field

if TYPE_CHECKING:
    from tmkd_deploy.agent.transport.context import Context

_TIMEOUT_SECONDS = 900.0
_MOST_LINES = 36
_LONGEST_LINE = 1000
_LARGEST = 64 << 20  # bytes, of the sources


def cpp_run(request: dict[str, Any], context: Context) -> dict[str, Any]:
    """Build the `sources`, a zip, for a `runtime`, and classify `frames` with a `bundle`.

    Returns:
        `status`: of the first step that failed, 0 if none did; `step`: its name, else `classify`;
        `lines`: what that step printed, at most the last 36 lines.

    Raises:
        AgentError: `environment`: CMake, a compiler or ONNX Runtime is missing, or a step took too
            long; `data`: a file is missing, or the sources are no zip that stays in its folder.
    """
    cmake = _required("cmake")
    _required("c++")
    folder = context.scratch()
    _unpack(context.stored_file(field(request, "sources", str)), folder / "sources")
    bundle = folder / "proof.tmkd"
    shutil.copyfile(str(context.stored_file(field(request, "bundle", str))), str(bundle))
    side = field(request, "side", int)
    frames = str(context.stored_file(field(request, "frames", str)))
    build = str(folder / "build")
    options = _options(field(request, "runtime", str))
    steps = {
        "configure": [cmake, "-S", str(folder / "sources"), "-B", build, *options],
        "build": [cmake, "--build", build, "--target", "tmkd-classify", "-j", _jobs()],
        "classify": [
            *(f"{build}/tmkd-classify", str(bundle), frames),
            *("--frame", f"{side}x{side}", "--verify", "--json"),
        ],
    }
    for step, command in steps.items():
        context.writer.say(f"The C++ runtime: {step}.")
        finished = child_processes.run(command, context.children, _TIMEOUT_SECONDS)
        if finished.returncode:
            break
    lines = [line[:_LONGEST_LINE] for line in finished.output.splitlines() if line.strip()]
    return {"status": finished.returncode, "step": step, "lines": lines[-_MOST_LINES:]}


def _required(name: str) -> str:
    path = program(name)
    if path is None:
        package = {"cmake": "cmake", "c++": "g++"}[name]
        advice = f"On the device, run: sudo apt-get install {package}"
        raise AgentError(ENVIRONMENT, f"{name} is not installed.", None, advice)
    return path


def _options(runtime: str) -> list[str]:
    if runtime == "tensorrt":
        return ["-DTMKD_TENSORRT=ON", "-DTMKD_ONNXRUNTIME=OFF"]
    spec = importlib.util.find_spec("onnxruntime")
    if spec is None or spec.origin is None:
        raise ImportError("onnxruntime is not installed", name="onnxruntime")
    return [f"-DONNXRUNTIME_ROOT={Path(spec.origin).parent}"]


def _jobs() -> str:
    # each compiler may take 500 MB, which small boards have for two
    return str(min(2, len(os.sched_getaffinity(0))))


def _unpack(archive: Path, folder: Path) -> None:
    try:
        with zipfile.ZipFile(str(archive)) as sources:
            members = sources.infolist()
            if sum(each.file_size for each in members) > _LARGEST:
                raise ValueError("it is too large")
            for each in members:
                path = Path(os.path.normpath(str(folder / each.filename)))
                if folder not in path.parents:
                    raise ValueError(f"{each.filename!r:.100} lies outside")
            sources.extractall(str(folder))
    except (ValueError, zipfile.BadZipFile) as error:
        problem = f"The sources of the C++ runtime cannot be used: {error}."
        raise AgentError(DATA, problem, None, "Run again.") from error
