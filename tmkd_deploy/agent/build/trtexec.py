"""TensorRT's command-line tool, for devices whose Python lacks the TensorRT module.

It builds only. It does not predict, because each run takes a single input, and its times are not
those of the latency protocol, because they leave the host's overhead out. Its output is parsed as
recorded on real devices (tests/unit/agent/test_agent_trtexec.py); the tool itself is untested here.
Source of the options and their history: https://docs.nvidia.com/deeplearning/tensorrt/11.4.1/api/
migration/tensorrt-10x-to-11x-trtexec.html and the page beside it for 8.x to 10.x.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, NamedTuple

from tmkd_deploy.agent import child_processes
from tmkd_deploy.agent.agent_errors import DATA, ENVIRONMENT, OUT_OF_MEMORY, AgentError
from tmkd_deploy.agent.telemetry.versions import parse_trtexec

_PASSED = re.compile(r"^&&&& PASSED TensorRT\.trtexec", re.MULTILINE)
# A message may continue on lines without a time and a severity.
_MESSAGE = re.compile(r"^\[[\d/:-]+\] \[([A-Z])\] ")
# follow any failure without explaining it
_ECHOES = re.compile(
    r"--- (Begin|End) node ---|^Failed to parse onnx file|^Parsing model failed"
    r"|^Failed to create engine from model|^Engine could not be created from network"
    r"|^Building engine failed|^Engine set up failed"
)
_UNREADABLE = "Failed to parse ONNX model from file"


class Report(NamedTuple):
    """The parsed output of a trtexec run.

    `version` is 10.3.0, say, or None; `passed` is its own verdict; `errors` are its messages.
    """

    version: str | None
    passed: bool
    errors: list[str]


def parse(output: str) -> Report:
    """Parse the output of trtexec, any release from 8.4 on."""
    return Report(
        version=parse_trtexec(output),
        passed=_PASSED.search(output) is not None,
        errors=_errors(output),
    )


def _errors(output: str) -> list[str]:
    """The error messages that explain something, each on one line."""
    messages: list[str] = []
    within = False
    for line in output.splitlines():
        start = _MESSAGE.match(line)
        if start or line.startswith("&&&&"):
            within = start is not None and start.group(1) == "E"
            if start is not None and within:
                messages.append(line[start.end() :])
        elif within:
            messages[-1] += " " + line.strip()
    return [message.strip() for message in messages if not _ECHOES.search(message)]


def build_command(program: str, release: tuple[int, ...], job: dict[str, Any]) -> list[str]:
    """The command that builds an engine with this release, for one shape with batch 1.

    Types are strong from 10 on, unless flags are available and requested or, for the DLA, needed,
    as in `tensorrt_build.choose_typing`. The file for a DLA has that shape itself, and trtexec
    takes none for it: https://github.com/NVIDIA/TensorRT/issues/2043.
    """
    shape = f"{job['input']}:1x{job['height']}x{job['width']}x3"
    bounds = ("min", "opt", "max") if job["dla_core"] is None else ()
    return [
        program,
        f"--onnx={job['onnx']}",
        f"--saveEngine={job['plan']}",
        *_typing(release, job),
        *(["--noTF32"] if job["precision"] == "fp32" else []),
        *(f"--{bound}Shapes={shape}" for bound in bounds),
        f"--memPoolSize=workspace:{job['workspace_mb']}",
        f"--timingCacheFile={job['timing_cache']}",
        "--profilingVerbosity=detailed",
        f"--exportLayerInfo={job['layers']}",
        # 8.5 has another name for it
        "--buildOnly" if release < (8, 6) else "--skipInference",
        *_dla(job),
    ]


def typing_name(release: tuple[int, ...], requested: str, dla: bool) -> str:
    """`strong` or `flags`: what this release uses for the requested typing, and on the DLA."""
    wants_flags = requested == "flags" or dla
    return "flags" if release < (10,) or (release < (11,) and wants_flags) else "strong"


def _typing(release: tuple[int, ...], job: dict[str, Any]) -> list[str]:
    if typing_name(release, job["typing"], job["dla_core"] is not None) == "strong":
        return ["--stronglyTyped"] if release < (11,) else []
    return {"int8": ["--int8", "--fp16"], "fp16": ["--fp16"], "fp32": []}[job["precision"]]


def _dla(job: dict[str, Any]) -> list[str]:
    if job["dla_core"] is None:
        return []
    cache = [] if job["calibration"] is None else [f"--calib={job['calibration']}"]
    fallback = ["--allowGPUFallback"] if job["gpu_fallback"] else []
    return [*cache, f"--useDLACore={job['dla_core']}", *fallback]


def check_built(finished: child_processes.CompletedProgram, plan: Path) -> None:
    """Check that a `build_command` has built its engine.

    Raises:
        AgentError: `data`: the file is not an ONNX model; `environment`: trtexec rejects it;
            `out_of_memory`: it reports that.
    """
    if not is_built(finished, plan):
        raise _refused(parse(finished.output), finished)


def is_built(finished: child_processes.CompletedProgram, plan: Path) -> bool:
    """Whether a `build_command` has built its engine."""
    # it may report PASSED after errors, so check for the file
    return finished.returncode == 0 and parse(finished.output).passed and plan.is_file()


def _refused(report: Report, finished: child_processes.CompletedProgram) -> AgentError:
    last = [line for line in finished.output.splitlines() if line.strip()][-3:]
    words = "; ".join(report.errors[:5] or last) or "it printed nothing"
    problem = f"trtexec {report.version or ''} failed (status {finished.returncode}): {words}"
    if _UNREADABLE in words:
        return AgentError(DATA, problem, None, "Export the student again.")
    if "outofmemory" in words.lower().replace(" ", ""):
        advice = "Close other programs on the device, add swap space, or lower the workspace."
        return AgentError(OUT_OF_MEMORY, problem, None, advice)
    return AgentError(
        ENVIRONMENT, problem, None, "If a layer is named, exclude it from quantization."
    )
