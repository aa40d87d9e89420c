"""The checks on other devices: Arm boards, PCs with a GPU, and Jetsons with TensorRT 11."""

from __future__ import annotations

import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from fake_board import failing
from lies import changed, fallback, measured, only

from tmkd_deploy.prove.checks import processors

RASPBERRY = {
    "model": "Raspberry Pi 5 Model B Rev 1.0",
    "compatible": ["raspberrypi,5-model-b"],
    "onnxruntime": "1.23.0",
    **dict.fromkeys(("l4t", "jetpack", "gpu", "tensorrt", "trtexec", "cuda", "power_mode")),
}


def slower(blocks: Any) -> Any:
    return [[5 * each for each in block] for block in blocks]


def test_an_arm_board_shows_what_it_can(prove) -> None:
    proof = prove(**RASPBERRY)
    shown = {each.id for each in proof.claims if each.outcome == "shown"}
    assert shown == {"arm-decisions", "arm-speed", "cpp-onnxruntime"}
    assert proof.with_root == [], "those are commands of a Jetson"
    assert not proof.contradicted and proof.name == "raspberry-pi-5-none"
    build = next(each for each in proof.claims if each.id == "build")
    assert build.reason == "This device has no GPU."


@pytest.mark.parametrize(
    ("name", "lies", "words"),
    [
        ("arm-decisions", {"predict": failing}, "TensorRT failed"),
        ("arm-speed", {"measure": measured("blocks.int8", slower)}, "not faster"),
        ("cpp-onnxruntime", {"cpp_run": changed(status=1, step="build")}, "build"),
    ],
)
def test_an_arm_board_that_is_not_as_claimed_contradicts(prove, name, lies, words) -> None:
    found = only(prove(name, lies=lies, **RASPBERRY))
    assert found.outcome == "contradicted" and words in found.reason, found


@pytest.mark.parametrize(
    ("name", "info", "words"),
    [
        ("arm-speed", {"processor": "aarch64, emulated by qemu"}, "emulated"),
        ("arm-speed", {"arm_dot_product": False}, "dot-product"),
        ("arm-decisions", {"onnxruntime": None}, "no ONNX Runtime"),
        ("arm-decisions", {"machine": "x86_64"}, "no Arm processor"),
    ],
)
def test_what_an_arm_board_cannot_show_is_not_run(prove, name, info, words) -> None:
    found = only(prove(name, **{**RASPBERRY, **info}))
    assert found.outcome == "not run" and words in found.reason, found


def test_cmake_that_finds_no_tensorrt_shows_nothing(prove) -> None:
    said = "Could NOT find TensorRT (missing: TensorRT_INCLUDE_DIR)"
    lies = {"cpp_run": changed(status=1, step="configure", lines=[said])}
    found = only(prove("cpp-tensorrt", lies=lies))
    assert found.outcome == "not run" and "TensorRT_INCLUDE_DIR" in found.reason


@pytest.mark.parametrize(
    ("lies", "outcome"),
    [({"build": fallback("cast", keep=False)}, "shown"), ({}, "contradicted")],
)
def test_tensorrt_11_reads_pairs_on_a_dla_or_does_not(prove, lies, outcome) -> None:
    proof = prove("dla-int8-qdq", "dla-int8", lies=lies, tensorrt="11.1.0")
    qdq, cached = proof.claims
    assert qdq.outcome == outcome, qdq
    assert cached.outcome == "not run" and "needs no calibration cache" in cached.reason


@pytest.mark.parametrize(
    ("lies", "outcome"), [({}, "shown"), ({"predict": failing}, "contradicted")]
)
def test_engines_that_were_built_here_run_on_a_pc(prove, monkeypatch, lies, outcome) -> None:
    tensorrt_rtx = pytest.importorskip("tensorrt_rtx")

    def build(model: Path, precision: str, side: int, profile: Any, folder: Path) -> Any:
        """In place of the builder: nothing here runs its engines."""
        shutil.copyfile(model, folder / f"{precision}.engine")
        return SimpleNamespace(file=f"{precision}.engine")

    monkeypatch.setattr(processors, "runtime", lambda name: SimpleNamespace(build=build))
    gpu = {"name": "NVIDIA RTX 4000 Ada", "sm": "89", "uuid": None, "memory_mb": 20_000}
    pc = {"machine": "x86_64", "l4t": None, "jetpack": None, "model": None, "gpu": gpu}
    there = {**pc, "tensorrt_rtx": tensorrt_rtx.__version__}
    assert only(prove("rtx-run", lies=lies, **there)).outcome == outcome
    for other, words in (
        ({"tensorrt_rtx": None}, "no TensorRT-RTX"),
        (
            {"tensorrt_rtx": "0.9.0"},
            "0.9.0 on the device",
        ),
    ):
        found = only(prove("rtx-run", **{**there, **other}))
        assert found.outcome == "not run" and words in found.reason, found
