"""Parsing a device's files and programs. The samples are real output that others published.

Each names its source; none was recorded by this project, which has no Jetson.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tmkd_deploy.agent.shell import output_of
from tmkd_deploy.agent.telemetry.cpu import parse_processor
from tmkd_deploy.agent.telemetry.gpu import parse_driver, parse_smi
from tmkd_deploy.agent.telemetry.jetson import (
    parse_package_version,
    parse_power_mode,
    parse_tegra_release,
)
from tmkd_deploy.agent.telemetry.system_files import first_line, parse_memory
from tmkd_deploy.agent.telemetry.versions import parse_cuda, parse_system, parse_trtexec


@pytest.mark.parametrize(
    ("text", "release"),
    [
        # https://github.com/dusty-nv/jetson-containers/blob/master/jetson_containers/l4t_version.py
        (
            "# R32 (release), REVISION: 7.1, GCID: 29689809, BOARD: t186ref, EABI: aarch64, "
            "DATE: Wed Feb  2 21:33:23 UTC 2022",
            "32.7.1",
        ),
        (
            "# R35 (release), REVISION: 3.1, GCID: 32790763, BOARD: t186ref, EABI: aarch64, "
            "DATE: Wed Mar 15 07:54:12 UTC 2023",
            "35.3.1",
        ),
        ("", None),
        ("# Ubuntu 24.04", None),
    ],
)
def test_the_release_of_linux_for_tegra(text: str, release: str | None) -> None:
    assert parse_tegra_release(text) == release


@pytest.mark.parametrize(
    ("text", "mode"),
    [
        # https://github.com/anduril/jetpack-nixos/pull/460 (an AGX Thor)
        ("NV Power Mode: MAXN\n0\n", {"id": 0, "name": "MAXN"}),
        # https://github.com/NVIDIA-AI-IOT/jetbot/issues/49 (a Nano, without root)
        (
            "NV Power Mode: 5W\n1\n"
            "NVPM ERROR: Error opening /sys/kernel/nvpmodel_emc_cap/emc_iso_cap: 13\n"
            "NVPM ERROR: failed to read PARAM EMC: ARG MAX_FREQ: PATH "
            "/sys/kernel/nvpmodel_emc_cap/emc_iso_cap\n",
            {"id": 1, "name": "5W"},
        ),
        ("", None),
        ("NVPM ERROR: failed", None),
    ],
)
def test_the_power_mode(text: str, mode: dict[str, object] | None) -> None:
    assert parse_power_mode(text) == mode


@pytest.mark.parametrize(
    ("text", "release"),
    [
        # https://github.com/jetsonhacks/jetsonUtilities/issues/11
        ("4.5.1-b17", "4.5.1"),
        ("6.1+b123", "6.1"),
        ("", None),
    ],
)
def test_the_release_of_jetpack(text: str, release: str | None) -> None:
    assert parse_package_version(text) == release


def test_a_gpu_by_nvidia_smi() -> None:
    # the values of https://github.com/triton-inference-server/server/pull/8070 in our order of
    # fields; the memory sizes, which it lacks, are from the data sheets
    text = (
        "NVIDIA TITAN V, 7.0, GPU-b5169cef-2205-c30e-f2b3-220cfa14bafd, 12288, 570.86.15\n"
        "NVIDIA RTX 5880 Ada Generation, 8.9, GPU-7518f6b0-991f-ce2b-3d37-c779130d3137, 49140, "
        "570.86.15\n"
    )
    gpu = {
        "name": "NVIDIA TITAN V",
        "sm": "70",
        "uuid": "GPU-b5169cef-2205-c30e-f2b3-220cfa14bafd",
        "memory_mb": 12288,
        "driver": "570.86.15",
    }
    first, second = parse_smi(text)
    assert first == gpu
    assert second["sm"] == "89" and second["memory_mb"] == 49140


@pytest.mark.parametrize(
    "text",
    [
        "",
        "NVIDIA-SMI has failed because it couldn't communicate with the NVIDIA driver.\n",
        "a, b\n",
    ],
)
def test_no_gpu_by_nvidia_smi(text: str) -> None:
    assert parse_smi(text) == []


def test_a_gpu_with_missing_fields_in_nvidia_smi() -> None:
    # of the form of https://github.com/Chen-zexi/vllm-cli/pull/11 (an AGX Orin); the driver's
    # version is that of https://github.com/sgl-project/sglang/issues/3331
    [gpu] = parse_smi("Orin (nvgpu), [N/A], [N/A], [N/A], 540.4.0\n")
    assert gpu == {
        "name": "Orin (nvgpu)",
        "sm": None,
        "uuid": None,
        "memory_mb": None,
        "driver": "540.4.0",
    }


@pytest.mark.parametrize(
    ("line", "driver"),
    [
        # https://github.com/nix-community/nixGL/issues/186
        (
            "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  565.57.01  Release Build  "
            "(dvs-builder@U16-A24-9-2)  Thu Oct 10 12:15:00 UTC 2024",
            "565.57.01",
        ),
        # https://github.com/nix-community/nixGL/issues/139 (an Orin NX)
        (
            "NVRM version: NVIDIA UNIX Open Kernel Module for aarch64  35.3.1  Release Build  "
            "(buildbrain@mobile-u64-6289-d7000)  Sun Mar 19 08:09:33 PDT 2023",
            "35.3.1",
        ),
        ("", None),
    ],
)
def test_the_driver_by_its_file(line: str, driver: str | None) -> None:
    assert parse_driver(line) == driver


@pytest.mark.parametrize(
    ("text", "version"),
    [
        # https://github.com/NVIDIA/TensorRT/issues/2130 (an AGX Orin)
        ("&&&& FAILED TensorRT.trtexec [TensorRT v8400] # bin/trtexec --onnx=c.onnx", "8.4.0"),
        # https://github.com/NVIDIA/TensorRT/issues/4036
        ("&&&& RUNNING TensorRT.trtexec [TensorRT v100200] # D:\trtexec.exe", "10.2.0"),
        ("&&&& RUNNING TensorRT.trtexec [TensorRT v8502] [b1] # trtexec --help", "8.5.2"),
        ("&&&& RUNNING TensorRT.trtexec [TensorRT v101602] [b10] # trtexec --help", "10.16.2"),
        ("&&&& RUNNING TensorRT.trtexec [TensorRT v11.1.0.106] [b48] # trtexec", "11.1.0"),
        ("trtexec: error while loading shared libraries: libnvinfer.so.10", None),
    ],
)
def test_the_version_of_trtexec(text: str, version: str | None) -> None:
    assert parse_trtexec(text) == version


def test_what_every_linux_reports() -> None:
    memory = "MemTotal:        7990532 kB\nHugePages_Total:       0\n"
    assert parse_memory(memory) == {"MemTotal": 7803}
    system = 'NAME="Ubuntu"\nPRETTY_NAME="Ubuntu 22.04.5 LTS"\n'
    assert parse_system(system) == "Ubuntu 22.04.5 LTS"
    processor = "processor\t: 0\nmodel name\t: ARMv8 Processor rev 1 (v8l)\n"
    assert parse_processor(processor) == "ARMv8 Processor rev 1 (v8l)"
    assert parse_cuda('{"cuda": {"name": "CUDA SDK", "version": "12.6.68"}}') == "12.6.68"
    for damaged in ("", "{}", "[]", '{"cuda": "12"}', "CUDA Version 10.2"):
        assert parse_cuda(damaged) is None
    assert parse_system("") is parse_processor("") is None
    assert parse_memory("") == {}


def test_files_and_programs_may_be_missing(tmp_path: Path) -> None:
    model = tmp_path / "model"
    model.write_bytes(b"NVIDIA Jetson Orin Nano Developer Kit\0")
    assert first_line(model) == "NVIDIA Jetson Orin Nano Developer Kit"
    model.write_bytes(b"\0")
    assert first_line(model) is None
    assert first_line(tmp_path / "none") is None
    assert output_of(["no-such-program"]) is None
    assert output_of(["sh", "-c", "echo said; exit 1"]) is None
    assert output_of(["sh", "-c", "echo said; exit 1"], accept_failure=True) == "said\n"
