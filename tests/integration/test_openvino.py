"""The chain for a target of OpenVINO, here and on a device, beside the same student's `cpu`."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from project import Project
from sshd import needs_sshd, ssh_device

from tmkd_deploy.agent.telemetry import cpu
from tmkd_deploy.devices.ssh_route import CONFIGURATION
from tmkd_deploy.runtime import load

openvino = pytest.importorskip("openvino")
pytest.importorskip("onnxruntime")

TARGET = ("--target", "cpu-openvino")
FAST = ("--set", "measure.min_runs=20", "--set", "measure.min_seconds=0.1")


def logits(project: Project, target: str, precision: str) -> np.ndarray:
    found: np.ndarray = np.load(
        project.run_folder / "measure" / target / f"logits-{precision}.npy", allow_pickle=False
    )
    return found


def as_onnx_runtime_decides(project: Project) -> None:
    for precision, tolerance in (("fp32", 1e-3), ("int8", 0.05)):
        here, there = (logits(project, name, precision) for name in ("cpu", "cpu-openvino"))
        assert (there.argmax(axis=1) == here.argmax(axis=1)).mean() >= 0.97  # one of 42 may differ
        assert np.abs(there - here).max() <= tolerance * np.abs(here).max()


def test_the_students_files_become_a_bundle_that_runs(
    project: Project, images: Path, tmp_path: Path
) -> None:
    text = project.recipe.read_text(encoding="utf-8")
    target = "targets:\n  - target: cpu-openvino\n    budgets: {accuracy: 0.6, engine_size_mb: 5}\n"
    project.recipe.write_text(text.replace("targets:\n", target), encoding="utf-8")

    doctor = project.run("doctor", "recipe.yaml")
    assert "Target cpu-openvino" in doctor.out and "Extra openvino" in doctor.out, doctor.told
    planned = project.run("run", "--dry-run")
    assert planned.code == 0 and "cpu-openvino" in planned.out, planned.told

    done = project.run("run", *TARGET, *FAST, "--json")
    assert done.code == 0, done.told
    reused = done.reused()
    assert reused["export student-int8-unsigned-fp32"] and not reused["build cpu-openvino"]
    as_onnx_runtime_decides(project)

    record = project.manifest("measure/cpu-openvino")["record"]
    assert record["runtime"] == "openvino" and record["not_measured"] is None
    engines = {"teacher", "int8", "fp32", *(["bf16"] if cpu.arithmetic_support()["bf16"] else [])}
    assert {row["engine"] for row in record["latency"]["rows"]} == engines
    engines = {each["precision"]: each for each in record["engines"]}
    assert engines["int8"]["int8_layers"] >= engines["int8"]["total_layers"] - 1 > 0
    assert engines["fp32"]["int8_layers"] == 0

    (bundle,) = (project.run_folder / "bundle" / "cpu-openvino").glob("*.tmkd")
    model = load(bundle)
    assert model.engine.runtime == "openvino"
    pictures = sorted((images / "test").rglob("*.png"))
    right = [model.predict(each).label == each.parent.name for each in pictures]
    assert sum(right) >= 0.6 * len(pictures) > 0
    verified = project.run("bundle", "verify", str(bundle))
    assert verified.code == 0 and "openvino" not in verified.err, verified.told

    explained = project.run("explain", "small", *TARGET, "--json")
    assert explained.code == 0, explained.told
    (found,) = explained.json()["explanations"]
    assert {"conv1.0", "layer1.0.conv1", "fc"} <= {
        layer["layer"] for layer in found["engine"]["layers"]
    }
    again = project.run("gate", *TARGET, *FAST, "--json")
    assert again.code == 0 and all(again.reused().values()), again.told

    # another release is measured again, although its engines are the same files
    (tmp_path / "openvino-9999.0.dist-info").mkdir()
    (tmp_path / "openvino-9999.0.dist-info" / "METADATA").write_text(
        "Metadata-Version: 2.1\nName: openvino\nVersion: 9999.0\n"
    )
    upgraded = project.run(
        "gate", *TARGET, *FAST, "--json", environment={"PYTHONPATH": str(tmp_path)}
    )
    found = {name for name, reused in upgraded.reused().items() if not reused}
    assert {"build cpu-openvino", "measure cpu-openvino"} <= found, upgraded.told


@needs_sshd
def test_an_attached_device_builds_and_measures_with_it(project: Project, tmp_path: Path) -> None:
    with ssh_device(tmp_path / "device") as device:
        attached = (*TARGET, "--device", device.address)
        environment = {CONFIGURATION: str(device.config)}
        found = project.run("doctor", "--device", device.address, "--json", environment=environment)
        version = openvino.__version__.partition("-")[0]
        assert found.json()["device_info"]["openvino"] == version, found.told
        done = project.run("validate", *attached, *FAST, environment=environment)
    assert done.code == 0, done.told
    as_onnx_runtime_decides(project)
    sidecar = project.run_folder / "build" / "cpu-openvino" / "int8.manifest.json"
    recorded = json.loads(sidecar.read_text(encoding="utf-8"))
    assert recorded["runtime"] == "openvino" and recorded["versions"]["runtime"] == version


def test_without_openvino_the_extra_is_named(project: Project, tmp_path: Path) -> None:
    (tmp_path / "openvino").mkdir()
    (tmp_path / "openvino" / "__init__.py").write_text(
        "raise ModuleNotFoundError('No module named openvino', name='openvino')"
    )
    done = project.run("export", *TARGET, environment={"PYTHONPATH": str(tmp_path)})
    assert done.code == 4, done.told
    assert "pip install 'tmkd-deploy[openvino]'" in done.err
