"""The versions of the software on a device: runtimes, CUDA, trtexec, the operating system."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

from tmkd_deploy.agent.shell import output_of, program
from tmkd_deploy.agent.telemetry.system_files import text

# Modules are imported in a child process, because a broken one may take its process down.
_VERSION = (
    "import importlib, sys; print('version', importlib.import_module(sys.argv[1]).__version__)"
)
_DLA = (
    "import tensorrt; logger = tensorrt.Logger(tensorrt.Logger.ERROR); "
    "print('version', tensorrt.Builder(logger).num_DLA_cores)"
)


def module_version(name: str) -> str | None:
    """The version of a module of this Python; None if it is missing or broken."""
    return _printed_by(_VERSION, name)


def dla_cores() -> int | None:
    """The number of DLA cores that TensorRT finds; None if it cannot run."""
    cores = _printed_by(_DLA, "")
    return int(cores) if cores else None


def cuda() -> str | None:
    """The version of the CUDA toolkit."""
    return parse_cuda(text(Path("/usr/local/cuda/version.json")) or "")


def system() -> str | None:
    """The name and version of the operating system."""
    return parse_system(text(Path("/etc/os-release")) or "")


def trtexec() -> dict[str, str | None] | None:
    """The `path` and `version` of trtexec; None if it is not installed."""
    path = program("trtexec")
    return None if path is None else {"path": path, "version": trtexec_version(path)}


def trtexec_version(path: str) -> str | None:
    """The version that a trtexec prints before its help."""
    return parse_trtexec(output_of([path, "--help"], accept_failure=True) or "")


def parse_system(os_release: str) -> str | None:
    """The name in the text of /etc/os-release."""
    found = re.search(r'^PRETTY_NAME="?([^"\n]+)"?$', os_release, re.MULTILINE)
    return found.group(1) if found else None


def parse_cuda(version_json: str) -> str | None:
    """The CUDA toolkit's version in its version.json."""
    try:
        return str(json.loads(version_json)["cuda"]["version"])
    except (ValueError, KeyError, TypeError):
        return None


def parse_trtexec(output: str) -> str | None:
    """TensorRT's version in the first line of trtexec's output, whatever its arguments.

    8.x prints v8502 for 8.5.2, 10.x prints v100300 for 10.3.0, and 11.x prints v11.1.0.106.
    """
    found = re.search(r"TensorRT\.trtexec \[TensorRT v([\d.]+)\]", output)
    if found is None:
        return None
    if "." in found.group(1):
        return ".".join(found.group(1).split(".")[:3])
    number = int(found.group(1))
    unit = 10000 if number >= 100000 else 1000
    return f"{number // unit}.{number % unit // 100}.{number % 100}"


def _printed_by(code: str, argument: str) -> str | None:
    printed = output_of([sys.executable or "python3", "-c", code, argument]) or ""
    found = re.search(r"^version (\S+)$", printed, re.MULTILINE)
    return found.group(1) if found else None
