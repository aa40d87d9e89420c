"""The agent's probe of the machine that runs these tests."""

from __future__ import annotations

import os
import platform
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tmkd_deploy.agent.telemetry import versions
from tmkd_deploy.runtime import gpu_access

DEVICE_INFO = {
    "machine",
    "system",
    "kernel",
    "python",
    "numpy",
    "onnxruntime",
    "openvino",
    "tensorrt",
    "tensorrt_rtx",
    "tensorrt_file",
    "import_errors",
    "pip",
    "trtexec",
    "cuda",
    "driver",
    "jetpack",
    "l4t",
    "model",
    "compatible",
    "processor",
    "vnni",
    "arm_dot_product",
    "precise_int8",
    "bf16",
    "cores",
    "memory_mb",
    "memory_free_mb",
    "disk_free_mb",
    "gpu",
    "gpu_denied",
    "cuda_error",
    "dla_cores",
    "power_mode",
    "clocks",
    "temperature_c",
    "throttled",
    "power_rails",
    "time",
}


def probed(start: Callable[..., Any], **options: Any) -> dict[str, Any]:
    agent = start(**options)
    assert agent.line()["type"] == "hello"
    info: dict[str, Any] = agent.request("probe")
    return info


def test_this_machine(start: Callable[..., Any]) -> None:
    info = probed(start, python=(sys.executable,))
    assert set(info) == DEVICE_INFO
    assert info["machine"] == platform.machine()
    assert info["kernel"] == platform.release()
    assert info["python"] == platform.python_version()
    assert info["numpy"] == np.__version__
    assert info["import_errors"] == {}
    assert info["cores"] == len(os.sched_getaffinity(0))
    assert 0 < info["memory_free_mb"] < info["memory_mb"]
    free = shutil.disk_usage("/tmp").free / 2**20
    assert info["disk_free_mb"] == pytest.approx(free, rel=0.2)
    assert abs(info["time"] - time.time()) < 60
    if not Path("/etc/nv_tegra_release").exists():
        assert info["l4t"] is info["dla_cores"] is info["power_mode"] is None


def test_a_device_with_broken_packages_can_be_probed(
    start: Callable[..., Any], agent_archive: Path, tmp_path: Path
) -> None:
    broken = {
        "numpy": "raise ImportError('none here')",
        "onnxruntime": "import os; os.kill(os.getpid(), 11)",
        # sound, and the only one that says more than its version
        "openvino": "__version__ = '2026.4.1-22982-e213a147257-releases/2026/4'",
        # https://github.com/dusty-nv/jetson-inference/issues/1920
        "tensorrt": "raise ImportError('libnvdla_compiler.so: cannot open shared object file: '"
        "'No such file or directory')",
        "tensorrt_rtx": "import missing_dependency",
    }
    for name, program in broken.items():
        (tmp_path / "broken" / name).mkdir(parents=True)
        (tmp_path / "broken" / name / "__init__.py").write_text(program)
    path = {"PYTHONPATH": f"{tmp_path / 'broken'}:{agent_archive}"}
    info = probed(start, environment=path)
    assert info["numpy"] is info["onnxruntime"] is info["tensorrt"] is None
    assert info["import_errors"] == {
        "numpy": "ImportError: none here",
        "onnxruntime": "importing it crashed, or took longer than 120 seconds",
        "tensorrt": "ImportError: libnvdla_compiler.so: cannot open shared object file: "
        "No such file or directory",
        "tensorrt_rtx": "ModuleNotFoundError: No module named 'missing_dependency'",
    }
    assert info["openvino"] == "2026.4.1"
    assert info["memory_mb"] > 0


def test_the_programs_of_a_jetson_are_run(start: Callable[..., Any], tmp_path: Path) -> None:
    said = {
        "nvpmodel": "NV Power Mode: MODE_15W\n2",
        "dpkg-query": "6.1+b123",
        "trtexec": "&&&& RUNNING TensorRT.trtexec [TensorRT v100300] # trtexec --help",
        "nvidia-smi": "Orin (nvgpu), 8.7, GPU-0, 7620, 540.4.0",
    }
    for name, text in said.items():
        (tmp_path / name).write_text(f"#!/bin/sh\necho '{text}'\n")
        (tmp_path / name).chmod(0o755)
    info = probed(start, environment={"PATH": f"{tmp_path}:{os.environ['PATH']}"})
    assert info["power_mode"] == {"id": 2, "name": "MODE_15W"}
    assert info["jetpack"] == "6.1"
    assert info["trtexec"] == {"path": str(tmp_path / "trtexec"), "version": "10.3.0"}
    assert info["gpu"] == {
        "name": "Orin (nvgpu)",
        "sm": "87",
        "uuid": "GPU-0",
        "memory_mb": 7620,
    }
    assert info["driver"] == "540.4.0"


def test_what_loads_tensorrt_may_take_as_long_as_a_cold_memory_card(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # libnvinfer and its builder's resources are larger than 1 GB, read at some 40 MB/s
    limits: list[float] = []

    def output_of(argv: list[str], accept_failure: bool = False, timeout_s: float = 30.0) -> None:
        limits.append(timeout_s)

    monkeypatch.setattr(versions, "output_of", output_of)
    assert versions.module("tensorrt").version is None
    assert versions.dla_cores() is None
    assert versions.trtexec_version("/usr/src/tensorrt/bin/trtexec") is None
    assert limits == [120.0] * 3


def test_a_device_file_of_another_group_is_named(tmp_path: Path) -> None:
    # as on an Orin: crw-rw---- root video /dev/nvmap (https://github.com/NVIDIA/NemoClaw/pull/5018)
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        nvmap = Path(folder) / "dev/nvmap"
        nvmap.parent.mkdir()
        nvmap.touch()
        assert gpu_access.denied(Path(folder)) is None
        nvmap.chmod(0)
        group = nvmap.group()
        root = os.geteuid() == 0
        if root:  # whom no mode keeps out
            os.seteuid(65534)
        try:
            found = gpu_access.denied(Path(folder))
        finally:
            if root:
                os.seteuid(0)
        assert found == {"path": str(nvmap), "group": group}
    assert gpu_access.denied(tmp_path) is None


def test_the_command_that_installs_packages_suits_the_python(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "executable", "/usr/bin/python3")
    monkeypatch.setattr(sys, "prefix", sys.base_prefix)
    monkeypatch.setattr("sysconfig.get_path", lambda name: str(tmp_path))
    assert versions.pip() == "/usr/bin/python3 -m pip install --user"
    (tmp_path / "EXTERNALLY-MANAGED").touch()  # as Debian 12 and Ubuntu 24.04 have it (PEP 668)
    assert versions.pip() == "/usr/bin/python3 -m pip install --user --break-system-packages"
    monkeypatch.setattr(sys, "prefix", "/home/nvidia/venv")
    assert versions.pip() == "/usr/bin/python3 -m pip install"
