"""One target, two runtimes: every engine is measured, the fastest ships, and all say so."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from project import Project

from tmkd_deploy.agent.telemetry import cpu
from tmkd_deploy.runtime import load

pytest.importorskip("openvino")
pytest.importorskip("onnxruntime")

TARGET = ("--target", "cpu")
FAST = ("--set", "measure.min_runs=20", "--set", "measure.min_seconds=0.1")
RACE = (*TARGET, *FAST, "--set", "targets.cpu.runtimes=[onnxruntime,openvino]")
BF16 = ["bf16-openvino"] if cpu.arithmetic_support()["bf16"] else []
ENGINES = ["int8", "fp32", "int8-openvino", *BF16, "fp32-openvino"]


def test_the_fastest_of_two_runtimes_ships(project: Project, images: Path) -> None:
    done = project.run("run", *RACE, "--json")
    assert done.code == 0, done.told
    reused = done.reused()
    assert reused["export student-int8-unsigned-fp32"] and not reused["build cpu"]

    record = project.manifest("gate/cpu")["record"]
    measured = record["measurements"]
    assert measured["runtime"] == "onnxruntime"
    medians = {row["engine"]: row["p50_ms"] for row in measured["latency"]["rows"]}
    assert set(medians) == {"teacher", *ENGINES}
    assert record["would_ship"] == min(ENGINES, key=medians.__getitem__)
    labels = [row["label"] for row in measured["ledger"] if row["representation"] == "engine"]
    assert len(labels) == len(set(labels)) == len(ENGINES)
    assert sum(row["representation"] == "onnx" for row in measured["ledger"]) == 2 + len(BF16)

    folder = project.run_folder / "measure" / "cpu"
    found = {name: np.load(folder / f"logits-{name}.npy") for name in ENGINES}
    for precision, tolerance in (("fp32", 1e-3), ("int8", 0.05)):
        own, other = found[precision], found[f"{precision}-openvino"]
        assert not np.array_equal(own, other)  # each engine was run
        assert np.abs(own - other).max() <= tolerance * np.abs(own).max()

    (bundle,) = (project.run_folder / "bundle" / "cpu").glob("*.tmkd")
    model = load(bundle)
    runtime = "openvino" if record["would_ship"].endswith("openvino") else "onnxruntime"
    assert model.engine.runtime == runtime
    assert model.engine.accuracy["label"] in labels
    assert model.engine.latency["p50_ms"] == medians[record["would_ship"]]
    pictures = sorted((images / "test").rglob("*.png"))
    assert sum(model.predict(each).label == each.parent.name for each in pictures) >= 0.6 * 42
    assert project.run("bundle", "verify", str(bundle)).code == 0

    explained = project.run("explain", "small", *TARGET, "--json")
    assert explained.code == 0, explained.told
    told = [(each["runtime"], each["precision"]) for each in explained.json()["explanations"]]
    assert told == [("onnxruntime", "int8"), ("openvino", "int8")]
    again = project.run("gate", *RACE, "--json")
    assert again.code == 0 and all(again.reused().values()), again.told
    small = project.run("gate", *RACE, "--set", "targets.cpu.prefer=size", "--json")
    assert small.code == 0 and small.reused()["measure cpu"], small.told
    assert project.manifest("gate/cpu")["record"]["would_ship"] == "int8"
    only = project.run("gate", *TARGET, "--only", "--json")
    assert only.code == 0, only.told
    assert project.manifest("gate/cpu")["record"]["would_ship"] == record["would_ship"]


def test_a_device_builds_and_times_the_engines_of_both(project: Project) -> None:
    done = project.run("gate", *RACE, "--device", "local")
    assert done.code == 0, done.told
    record = project.manifest("measure/cpu")["record"]
    assert [engine["file"] for engine in record["engines"]] == [f"{name}.onnx" for name in ENGINES]
    assert {row["engine"] for row in record["latency"]["rows"]} == {"teacher", *ENGINES}
    sidecar = project.run_folder / "build" / "cpu" / "int8-openvino.manifest.json"
    assert json.loads(sidecar.read_text(encoding="utf-8"))["runtime"] == "openvino"


def test_one_runtime_alone_may_be_named(project: Project) -> None:
    done = project.run("gate", *TARGET, *FAST, "--set", "targets.cpu.runtimes=[openvino]")
    assert done.code == 0, done.told
    record = project.manifest("measure/cpu")["record"]
    assert record["runtime"] == "openvino"
    precisions = ["int8", *(["bf16"] if BF16 else []), "fp32"]
    assert [engine["precision"] for engine in record["engines"]] == precisions
    assert {row["engine"] for row in record["latency"]["rows"]} == {"teacher", *precisions}


def test_a_runtime_that_is_named_and_missing_is_refused(project: Project, tmp_path: Path) -> None:
    # a package without metadata counts as missing
    hidden = tmp_path / "sitecustomize.py"
    hidden.write_text(
        "import importlib.metadata as found\n"
        "version = found.version\n"
        "def without(name):\n"
        "    if name == 'openvino':\n"
        "        raise found.PackageNotFoundError(name)\n"
        "    return version(name)\n"
        "found.version = without\n"
    )
    environment = {"PYTHONPATH": str(tmp_path)}
    own = project.run("export", *TARGET, environment=environment)
    assert own.code == 0 and "OpenVINO" not in own.told, own.told
    named = project.run("export", *RACE, environment=environment)
    assert named.code == 4 and "pip install 'tmkd-deploy[openvino]'" in named.err, named.told
