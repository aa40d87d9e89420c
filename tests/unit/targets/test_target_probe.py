"""The machine is described from what it really says of itself."""

import importlib.metadata
import json
import platform

import pytest

from tmkd_deploy.targets import catalog, machine_probe

X86 = "processor : 0\nmodel name : Some CPU @ 2.80GHz\nflags : fpu avx2 {}\n"


def test_this_machine_is_described_in_plain_values() -> None:
    machine = machine_probe.probe()
    json.dumps(machine)
    assert machine["architecture"] == platform.machine()
    assert machine["cores"] >= 1
    assert machine["memory_mb"] is None or machine["memory_mb"] > 100


def test_what_can_run_can_be_told_from_the_runtimes() -> None:
    machine = machine_probe.probe()
    here = machine["runtimes"]["onnxruntime"]
    assert ("cpu" in machine["can_run"]) == (here is not None)
    assert not {"cpu-x86", "cpu-arm64"} <= set(machine["can_run"])
    if here is not None:
        names = ("onnxruntime", "onnxruntime-gpu")
        versions = [
            each.version for each in importlib.metadata.distributions() if each.name in names
        ]
        assert here in versions
    assert set(machine["can_run"]) <= set(catalog.names())


@pytest.mark.parametrize(
    ("flags", "vnni"), [("avx512_vnni", True), ("avx_vnni ssse3", True), ("avx512f", False)]
)
def test_vnni_is_read_from_the_flags(flags, vnni) -> None:
    assert machine_probe.parse_cpuinfo(X86.format(flags)) == {
        "model": "Some CPU @ 2.80GHz",
        "vnni": vnni,
    }


def test_arm_says_it_in_its_own_words() -> None:
    text = "processor\t: 0\nFeatures\t: fp asimd asimdhp asimddp\nCPU implementer\t: 0x41\n"
    assert machine_probe.parse_cpuinfo(text)["vnni"] is True


def test_without_flags_nothing_is_claimed() -> None:
    assert machine_probe.parse_cpuinfo("")["vnni"] is None


def test_gpus_are_read_from_nvidia_smi() -> None:
    text = (
        "NVIDIA RTX 2000 Ada Generation, 8.9, 16380 MiB, 570.86.15\n"
        "NVIDIA GeForce RTX 5060, 12.0, 8151 MiB, 570.86.15\n\n"
    )
    capabilities = [gpu["compute_capability"] for gpu in machine_probe.parse_gpus(text)]
    assert capabilities == ["SM89", "SM120"]
    assert catalog.get("rtx-ada").compute_capability == capabilities[0]


def test_no_gpu_is_read_from_an_error() -> None:
    assert machine_probe.parse_gpus("No devices were found\n") == []


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
def test_a_board_is_known_by_its_device_tree(model, name) -> None:
    matching = [each for each in catalog.names() if catalog.get(each).describes(model)]
    assert matching == ([name] if name else [])


@pytest.mark.parametrize(("machine", "name"), [("x86_64", "cpu-x86"), ("arm64", "cpu-arm64")])
def test_an_architecture_has_one_name(machine, name) -> None:
    fitting = [each for each in ("cpu-x86", "cpu-arm64") if catalog.get(each).is_machine(machine)]
    assert fitting == [name]
    assert catalog.get("cpu").is_machine(machine)
