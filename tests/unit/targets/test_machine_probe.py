"""The machine is described from what it really reports."""

import importlib.metadata
import json
import platform

import pytest

from tmkd_deploy.targets import catalog, machine_probe


def test_this_machine_is_described_in_plain_values() -> None:
    machine = machine_probe.probe()
    json.dumps(machine)
    assert machine["architecture"] == platform.machine()
    assert machine["cores"] >= 1
    assert machine["memory_mb"] is None or machine["memory_mb"] > 100


def test_what_can_run_follows_from_the_runtimes() -> None:
    machine = machine_probe.probe()
    here = machine["runtimes"]["onnxruntime"]
    assert ("cpu" in machine["can_run"]) == (here is not None)
    assert ("cpu-openvino" in machine["can_run"]) == (machine["runtimes"]["openvino"] is not None)
    assert not {"cpu-x86", "cpu-arm64"} <= set(machine["can_run"])
    if here is not None:
        names = ("onnxruntime", "onnxruntime-gpu")
        versions = [
            each.version for each in importlib.metadata.distributions() if each.name in names
        ]
        assert here in versions
    assert set(machine["can_run"]) <= set(catalog.names())


def test_gpus_are_those_that_nvidia_smi_lists(monkeypatch, tmp_path) -> None:
    # of the form of https://github.com/triton-inference-server/server/pull/8070
    listed = (
        "NVIDIA RTX 2000 Ada Generation, 8.9, GPU-1, 16380, 570.86.15\n"
        "NVIDIA GeForce RTX 5060, 12.0, GPU-2, 8151, 570.86.15\n"
    )
    (tmp_path / "nvidia-smi").write_text(f"#!/bin/sh\nprintf '{listed}'\n")
    (tmp_path / "nvidia-smi").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    first, second = machine_probe.probe()["gpus"]
    assert first == {
        "name": "NVIDIA RTX 2000 Ada Generation",
        "compute_capability": "SM89",
        "memory_mb": 16380,
        "driver": "570.86.15",
    }
    assert second["compute_capability"] == "SM120"
    assert catalog.get("rtx-ada").compute_capability == first["compute_capability"]


@pytest.mark.parametrize(
    ("model", "name"),
    [
        ("NVIDIA Jetson Orin Nano Engineering Reference Developer Kit Super", "jetson-orin-nano"),
        ("NVIDIA Jetson Orin NX Engineering Reference Developer Kit", "jetson-orin-nx"),
        ("NVIDIA Jetson AGX Orin Developer Kit", "jetson-agx-orin"),
        ("NVIDIA Jetson AGX Thor Developer Kit", "jetson-thor"),
        ("NVIDIA Jetson Xavier NX Developer Kit", "jetson-xavier-nx"),
        ("Jetson-AGX", "jetson-agx-xavier"),
        ("Raspberry Pi 5 Model B Rev 1.0", "raspberry-pi-5"),
        ("Raspberry Pi 4 Model B Rev 1.5", None),
        ("NVIDIA Jetson Nano Developer Kit", None),
        (None, None),
    ],
)
def test_a_board_is_identified_by_its_device_tree(model, name) -> None:
    matching = [each for each in catalog.names() if catalog.get(each).describes(model)]
    assert matching == ([name] if name else [])


@pytest.mark.parametrize(("machine", "name"), [("x86_64", "cpu-x86"), ("arm64", "cpu-arm64")])
def test_an_architecture_has_one_name(machine, name) -> None:
    fitting = [each for each in ("cpu-x86", "cpu-arm64") if catalog.get(each).is_machine(machine)]
    assert fitting == [name]
    assert catalog.get("cpu").is_machine(machine)
