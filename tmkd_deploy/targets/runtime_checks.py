"""Whether a device has a runtime that can be used, as `doctor` states it.

Sources of the commands: nvidia-jetpack as an apt package,
https://pytorch.org/TensorRT/getting_started/jetpack.html; python3-libnvinfer,
https://docs.nvidia.com/deeplearning/tensorrt/latest/installing-tensorrt/installing.html.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from tmkd_deploy.targets import support
from tmkd_deploy.targets.finding import Finding
from tmkd_deploy.targets.target_profile import Software, TargetProfile

JETPACK = "sudo apt-get update && sudo apt-get install nvidia-jetpack"
REINSTALL = "sudo apt-get install --reinstall python3-libnvinfer tensorrt"
DLA_COMPILER = "sudo apt-get install nvidia-l4t-dla-compiler && sudo ldconfig"
# Builds for servers and those of PyPI may lack the GPU of a Jetson:
# https://github.com/NVIDIA-ISAAC-ROS/isaac-ros-cli/issues/22
OTHER_ORIGIN = "python3 -m pip uninstall tensorrt; sudo apt-get install python3-libnvinfer"


def runtime_findings(
    info: dict[str, Any], profile: TargetProfile | None, release: Software | None
) -> Iterator[Finding]:
    """Whether a device has the runtime of `profile`; without one, whether it has any."""
    if profile is None:
        names = ("tensorrt", "tensorrt_rtx", "onnxruntime", "openvino")
        here = [f"{name} {info[name]}" for name in names if info.get(name)]
        if here:
            yield Finding("Runtime", "ok", ", ".join(here))
        else:
            yield Finding("Runtime", "error", "none", f"{info['pip']} onnxruntime")
    elif profile.runtime == "onnxruntime":
        yield _module("ONNX Runtime", info, "onnxruntime", f"{info['pip']} onnxruntime")
    elif profile.runtime == "openvino":
        yield _module("OpenVINO", info, "openvino", f"{info['pip']} openvino")
    elif profile.runtime == "tensorrt_rtx":
        remedy = f"{info['pip']} tensorrt-rtx-cu13"
        yield _module("TensorRT-RTX", info, "tensorrt_rtx", remedy)
    else:
        yield from _tensorrt(info, profile, release)


def _module(title: str, info: dict[str, Any], name: str, remedy: str) -> Finding:
    if info[name] is None:
        return Finding(title, "error", import_error(info, name) or "missing", remedy)
    return Finding(title, "ok", info[name])


def import_error(info: dict[str, Any], name: str) -> str | None:
    """Why an installed module cannot be used; None if it can, or is not installed."""
    problem = (info["import_errors"] or {}).get(name)
    return f"cannot import {name}: {problem}" if problem else None


def _tensorrt(
    info: dict[str, Any], profile: TargetProfile, release: Software | None
) -> Iterator[Finding]:
    program = info["trtexec"] or {}
    version = info["tensorrt"] or program.get("version")
    broken = import_error(info, "tensorrt")
    if broken:
        dla = "libnvdla_compiler" in broken
        yield Finding("TensorRT", "error", broken, DLA_COMPILER if dla else REINSTALL)
        return
    if info["tensorrt"] is None and not program:
        yield Finding("TensorRT", "error", "missing", JETPACK)
        return
    sm = (info["gpu"] or {}).get("sm") or str(profile.compute_capability).removeprefix("SM")
    reason = support.unsupported_reason(version, sm) if version else None
    included = f"JetPack {release.jetpack} includes {release.tensorrt}" if release else ""
    if reason and support.numbers(str(version)) < support.FIRST_WITH_UINT8:
        remedy = "Flash JetPack 5.1 or later: https://developer.nvidia.com/sdk-manager"
        yield Finding("TensorRT", "error", f"{version}; {reason}", remedy)
    elif reason:
        remedy = f"Install the one for this board. {included}".strip()
        yield Finding("TensorRT", "error", f"{version}; {reason}", f"{remedy}: {JETPACK}")
    elif info["tensorrt"] is None:
        found = f"only trtexec {version or 'of unknown version'}, which builds engines; measuring "
        found += "them needs TensorRT's Python module"
        yield Finding("TensorRT", "warning", found, _module_remedy(info, release))
    elif release and not _is_release(str(version), release.tensorrt):
        found = f"{version} from {info['tensorrt_file']}, which may lack this GPU; {included}"
        yield Finding("TensorRT", "warning", found, OTHER_ORIGIN)
    else:
        yield Finding("TensorRT", "ok", f"{version}{f'; {included}' if included else ''}")


def _is_release(version: str, release: str) -> bool:
    """Whether `version`, such as 10.3.0.30, is the `release` 10.3."""
    wanted = support.numbers(release)
    return support.numbers(version)[: len(wanted)] == wanted


def _module_remedy(info: dict[str, Any], release: Software | None) -> str:
    if release and support.numbers(info["python"])[:2] != support.numbers(release.python):
        return (
            f"JetPack {release.jetpack} has TensorRT's module for Python {release.python}, but "
            f"python3 is {info['python']}: put /usr/bin first in PATH for SSH sessions."
        )
    return "sudo apt-get install python3-libnvinfer"
