"""The versions of the software on a device: runtimes, CUDA, trtexec, the operating system."""

from __future__ import annotations

import json
import re
import sys
import sysconfig
from pathlib import Path
from typing import NamedTuple

from tmkd_deploy.agent.shell import output_of, program
from tmkd_deploy.agent.telemetry.system_files import text

# Modules are imported in a child process, because a broken one may take its process down.
_VERSION = """
import importlib, sys
name = sys.argv[1]
sys.modules["openvino_telemetry"] = None  # as in `tmkd_deploy.agent`
try:
    module = importlib.import_module(name)
    print("version", module.__version__.partition("-")[0])  # OpenVINO's branch follows
    print("file", module.__file__)
except BaseException as error:
    if not isinstance(error, ModuleNotFoundError) or error.name != name:
        print("problem", type(error).__name__ + ":", " ".join(str(error).split()))
"""
# TensorRT's libraries, trtexec's too, are larger than 1 GB, and a memory card may read 40 MB/s.
_IMPORT_SECONDS = 120.0
_DLA = (
    "import tensorrt; logger = tensorrt.Logger(tensorrt.Logger.ERROR); "
    "print('version', tensorrt.Builder(logger).num_DLA_cores)"
)


class Module(NamedTuple):
    """A module of this Python: its `version` and `file`, or the `problem` with importing it.

    All are None if it is not installed.
    """

    version: str | None
    file: str | None
    problem: str | None


def module(name: str) -> Module:
    """Import a module of this Python in a process of its own."""
    argv = [sys.executable or "python3", "-c", _VERSION, name]
    printed = output_of(argv, timeout_s=_IMPORT_SECONDS)
    if printed is None:
        limit = f"importing it crashed, or took longer than {_IMPORT_SECONDS:.0f} seconds"
        return Module(None, None, limit)
    problem = _line(printed, "problem")
    version = None if problem else _line(printed, "version")
    return Module(version, _line(printed, "file"), problem)


def dla_cores() -> int | None:
    """The number of DLA cores that TensorRT finds; None if it cannot run."""
    argv = [sys.executable or "python3", "-c", _DLA]
    cores = _line(output_of(argv, timeout_s=_IMPORT_SECONDS) or "", "version")
    return int(cores) if cores else None


def cuda() -> str | None:
    """The version of the CUDA toolkit."""
    return parse_cuda(text(Path("/usr/local/cuda/version.json")) or "")


def pip() -> str:
    """The command with which this Python installs packages, without their names.

    Debian 12, Ubuntu 24.04 and what follows from them manage their Python's packages themselves
    (PEP 668); pip then needs to be told that it may install beside them, for this account only.
    """
    command = f"{sys.executable or 'python3'} -m pip install"
    if sys.prefix != sys.base_prefix:
        return command  # a virtual environment has no --user
    managed = (Path(sysconfig.get_path("stdlib")) / "EXTERNALLY-MANAGED").is_file()
    return f"{command} --user{' --break-system-packages' if managed else ''}"


def system() -> str | None:
    """The name and version of the operating system."""
    return parse_system(text(Path("/etc/os-release")) or "")


def trtexec() -> dict[str, str | None] | None:
    """The `path` and `version` of trtexec; None if it is not installed."""
    path = program("trtexec")
    return None if path is None else {"path": path, "version": trtexec_version(path)}


def trtexec_version(path: str) -> str | None:
    """The version that a trtexec prints before its help."""
    help_text = output_of([path, "--help"], accept_failure=True, timeout_s=_IMPORT_SECONDS)
    return parse_trtexec(help_text or "")


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


def _line(printed: str, word: str) -> str | None:
    """What follows `word` on the last line that starts with it."""
    found = re.findall(rf"^{word} (.+)$", printed, re.MULTILINE)
    return str(found[-1]).strip()[:300] if found else None
