"""A run whose engines answer NaN, judged by the command line under budgets that guessing meets."""

from __future__ import annotations

import json

import onnx
from onnx import helper
from project import Project

from tmkd_deploy import artifacts
from tmkd_deploy.records.engine import EngineRecord

# each of the three classes has a third of the test images
BUDGETS = ("--set", "targets.cpu.budgets.accuracy=0.3")


def plant_nan(project: Project, *precisions: str) -> None:
    """Make the built engines of these precisions answer NaN, in an artifact that is sealed."""
    place = project.run_folder / "build" / "cpu"
    built = artifacts.read(place, "build", EngineRecord)
    manifest = built.manifest
    files = {name: (place / name).read_bytes() for name in manifest.files}
    for engine in built.record.engines:
        if engine.precision in precisions:
            proto = onnx.load_from_string(files[engine.file])
            for node in proto.graph.node:
                for at, name in enumerate(node.output):
                    if name == "logits":
                        node.output[at] = "sound"
            # 0 / 0 for every logit
            proto.graph.node.append(helper.make_node("Sub", ["sound", "sound"], ["zero"]))
            proto.graph.node.append(helper.make_node("Div", ["zero", "zero"], ["logits"]))
            files[engine.file] = proto.SerializeToString()
    with artifacts.writing(
        place, kind="build", fingerprint=manifest.fingerprint, inputs=manifest.inputs
    ) as draft:
        for name, content in files.items():
            (draft.folder / name).parent.mkdir(parents=True, exist_ok=True)
            (draft.folder / name).write_bytes(content)
        draft.record = built.record


def test_an_engine_of_nan_never_ships_and_is_named(project: Project) -> None:
    plant_nan(project, "int8")
    done = project.run("gate", "--target", "cpu", "--json", *BUDGETS)
    assert done.code == 0, done.told
    assert done.reused()["build cpu"]
    record = project.manifest("gate/cpu")["record"]
    assert record["shipped"] == "fp32"
    (warning,) = record["verdict"]["warnings"]
    assert "The logits of the INT8 engine for cpu are not finite for 42 of 42 images" in warning
    assert "The logits of the INT8 engine" in done.err
    assert "NaN" not in json.dumps(record)


def test_where_every_engine_is_nan_nothing_passes(project: Project) -> None:
    plant_nan(project, "int8", "fp32")
    before = project.content()
    done = project.run("gate", "--target", "cpu", *BUDGETS)
    assert done.code == 5, done.told
    assert "Error: No engine for cpu can be judged or ship." in done.err
    assert "Traceback" not in done.told and "✓" not in done.out
    assert project.content() == before
