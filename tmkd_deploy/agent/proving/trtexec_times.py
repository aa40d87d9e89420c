"""The `trtexec_times` request: what `trtexec` says an engine takes.

Its output is parsed as recorded on devices (tests/unit/agent/test_agent_proving.py). What it means:
"GPU Compute Time" lies between events around the kernels, "Latency" includes both copies
(https://docs.nvidia.com/deeplearning/tensorrt/latest/performance/best-practices.html).
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from tmkd_deploy.agent import child_processes
from tmkd_deploy.agent.agent_errors import ENVIRONMENT, AgentError
from tmkd_deploy.agent.shell import program
from tmkd_deploy.agent.transport.request_fields import field, optional

if TYPE_CHECKING:
    from tmkd_deploy.agent.transport.context import Context

_TIMEOUT_SECONDS = 300.0
_MOST_LINES = 12
# after the time and the severity
_MEDIAN = r"^\[[^\]]*\] \[I\] {}: .*\bmedian = ([\d.]+) ms"
_SHOWN = ("GPU Compute Time:", "] Latency:", "&&&& ", "[E]")


def trtexec_times(request: dict[str, Any], context: Context) -> dict[str, Any]:
    """Time a stored engine with `trtexec --loadEngine`.

    Returns:
        `compute_ms` and `latency_ms`, the medians that it prints; `command`; the `lines` with them.

    Raises:
        AgentError: `environment`: trtexec is missing, fails or prints no times.
    """
    path = require_trtexec()
    shape = f"{field(request, 'input', str)}:1x{field(request, 'height', int)}"
    command = [
        path,
        f"--loadEngine={context.stored_file(field(request, 'engine', str))}",
        f"--shapes={shape}x{field(request, 'width', int)}x3",
        "--warmUp=500",
        f"--duration={field(request, 'seconds', int)}",
        "--useSpinWait",  # as our sessions wait
        *(["--useCudaGraph"] if optional(request, "cuda_graph", bool) else []),
    ]
    finished = child_processes.run(command, context.children, _TIMEOUT_SECONDS)
    compute = parse_median(finished.output, "GPU Compute Time")
    lines = shown_lines(finished.output)
    if finished.returncode or compute is None:
        raise AgentError(
            ENVIRONMENT,
            f"trtexec gave no times (status {finished.returncode}): {' '.join(lines)[-500:]}",
            path,
            "Run it on the device yourself with --loadEngine.",
        )
    return {
        "compute_ms": compute,
        "latency_ms": parse_median(finished.output, "Latency"),
        "command": command,
        "lines": lines,
    }


def require_trtexec() -> str:
    """The path of trtexec.

    Raises:
        AgentError: `environment`: it is not installed.
    """
    path = program("trtexec")
    if path is None:
        raise AgentError(
            ENVIRONMENT,
            "trtexec is not installed.",
            None,
            "It is part of JetPack. On the device, run: sudo apt-get install nvidia-jetpack",
        )
    return path


def parse_median(output: str, name: str) -> float | None:
    """The median in the summary line `name` of trtexec's output, in milliseconds."""
    found = re.findall(_MEDIAN.format(re.escape(name)), output, re.MULTILINE)
    return float(found[-1]) if found else None


def shown_lines(output: str) -> list[str]:
    """The last lines that say what was run, how long it took and what failed."""
    lines = [line.strip() for line in output.splitlines()]
    return [line[:300] for line in lines if any(word in line for word in _SHOWN)][-_MOST_LINES:]
