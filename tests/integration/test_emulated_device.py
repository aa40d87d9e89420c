"""The pipeline on an emulated aarch64 device behind a real SSH server, with only NumPy and ONNX
Runtime. Emulated times mean nothing for a real device; the computed results do."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from emulated import emulated_device, make_root, what_is_missing
from project import Project

from tmkd_deploy.devices.ssh_route import CONFIGURATION
from tmkd_deploy.prove import proof

_MISSING = what_is_missing()
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(_MISSING is not None, reason=str(_MISSING)),
]

FAST = ("--set", "measure.min_runs=20", "--set", "measure.min_seconds=0.1")
TARGET = "cpu-arm64"


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The device's address, as commands take it."""
    folder = tmp_path_factory.mktemp("emulated")
    root = make_root(folder / "root")
    with emulated_device(folder / "device", root) as device, pytest.MonkeyPatch.context() as patch:
        patch.setenv(CONFIGURATION, str(device.config))
        yield device.address
    shutil.rmtree(root)


def test_doctor_finds_an_aarch64_device_that_can_run_engines(project: Project, address) -> None:
    done = project.run("doctor", "--device", address, "--json")
    assert done.code == 0, done.told
    record = done.json()["device_info"]
    assert record["machine"] == "aarch64"
    assert record["onnxruntime"] and record["numpy"] and not record["tensorrt"]


def test_the_student_is_built_measured_and_gated_there(project: Project, address) -> None:
    here = logits(project, "cpu")
    attached = ("--target", TARGET, "--device", address)
    exported = project.run("export", *attached, "--json")
    assert exported.code == 0, exported.told
    assert exported.reused()["export student-int8-unsigned-fp32"]
    assert not exported.reused()[f"build {TARGET}"]

    validated = project.run("validate", *attached, *FAST)
    assert validated.code == 0, validated.told
    assert f"Next: tmkd-deploy gate --target {TARGET} --device {address}" in validated.out
    record = project.manifest(f"measure/{TARGET}")["record"]
    assert record["latency"]["machine"]["architecture"] == "aarch64"
    assert {row["engine"] for row in record["latency"]["rows"]} == {"teacher", "int8", "fp32"}
    engines = [row for row in record["ledger"] if row["representation"] == "engine"]
    assert {row["precision"] for row in engines} == {"int8", "fp32"}

    there = logits(project, TARGET)
    assert (there.argmax(axis=1) == here.argmax(axis=1)).mean() >= 0.995
    # the same integers, except for float arithmetic at the end and rare rounding differences
    assert np.abs(there - here).max() <= 0.05 * np.abs(here).max()

    # finished work is not repeated
    gated = project.run("gate", *attached, *FAST, "--json")
    assert gated.code == 3, "the recipe sets no budgets for this target"
    again = gated.reused()
    assert not again.pop(f"gate {TARGET}") and all(again.values())


def test_the_committed_proof_is_what_such_a_device_shows(project: Project, address) -> None:
    done = project.run("doctor", "--prove", "--device", address)
    assert done.code == 0, done.told
    name = "emulated-aarch64-none.json"
    found = proof.read(project.folder / "proofs" / name)
    committed = proof.read(Path(__file__).parents[2] / "proofs" / name)
    assert found.complete
    outcomes, earlier = ({c.id: c.outcome for c in each.claims} for each in (found, committed))
    assert outcomes == earlier
    assert outcomes["arm-decisions"] == "shown"
    assert set(outcomes.values()) == {"shown", "not run"}


def logits(project: Project, target: str) -> np.ndarray:
    folder: Path = project.run_folder / "measure" / target
    assert json.loads((folder / "manifest.json").read_text(encoding="utf-8"))["kind"] == "measure"
    found: np.ndarray = np.load(folder / "logits-int8.npy", allow_pickle=False)
    return found
