"""Weights that do not fit, and artifacts that are truncated or were tampered with."""

from __future__ import annotations

import os
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from project import HAS_RTX, Project
from refusals import Case, refused, truncate
from safetensors.numpy import save_file


class Evil:
    """Unpickled, it leaves a file behind."""

    def __reduce__(self) -> tuple[Callable[..., object], tuple[str]]:
        return os.mkdir, ("executed",)


def checkpoint(name: str, key: str, content: bytes | None) -> Callable[[Project], None]:
    def spoil(project: Project) -> None:
        path = project.folder / name
        if content is None:
            save_file({"conv1.weight": np.zeros((3, 3), np.float32)}, path)
        else:
            path.write_bytes(content)
        if key == "text":
            project.replace("text: {", f"text: {{checkpoint: {name}, ")
        else:
            project.replace("weights: none", f"weights: {name}")

    return spoil


CHECKPOINTS = [
    Case(
        "of-another-model",
        checkpoint("other.safetensors", "visual", None),
        5,
        ("does not match", "other.safetensors", "Use a checkpoint of exactly this model"),
    ),
    Case(
        "of-another-text-teacher",
        checkpoint("other.safetensors", "text", None),
        5,
        ("does not match", "other.safetensors", "Set teacher.text.model to the open_clip model"),
    ),
    Case(
        "with-code-inside",
        checkpoint("evil.pt", "visual", pickle.dumps(Evil())),
        5,
        ("The checkpoint cannot be read", "evil.pt", "tensors only"),
    ),
]


@pytest.mark.parametrize("case", CHECKPOINTS, ids=str)
def test_a_bad_checkpoint(project: Project, case: Case) -> None:
    before = project.content()
    case.spoil(project)
    refused(project.run("distill"), case.code, *case.told)
    assert project.content() == before
    assert not (project.folder / "executed").exists()


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(bytes(content))


def rewrite_outcome(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert '"outcome": "passed"' in text
    path.write_text(text.replace('"outcome": "passed"', '"outcome": "failed"'), encoding="utf-8")


@pytest.mark.parametrize(
    ("file", "damage", "told"),
    [
        ("distill/distilled.safetensors", truncate, "truncated"),
        ("distill/distilled.safetensors", flip, "altered"),
        ("distill/distilled.safetensors", Path.unlink, "missing"),
        ("build/cpu/fp32.onnx", flip, "altered"),
    ],
)
def test_a_truncated_or_tampered_artifact(
    project: Project, file: str, damage: Callable[[Path], None], told: str
) -> None:
    damage(project.run_folder / file)
    before = project.content()
    folder = str(Path("runs/small") / Path(file).parent)
    refused(project.run("run"), 5, told, folder, "Delete this folder and run the command again")
    assert project.content() == before


@pytest.mark.parametrize("damage", [truncate, flip, rewrite_outcome])
def test_an_artifact_whose_manifest_was_touched_is_not_believed(
    project: Project, damage: Callable[[Path], None]
) -> None:
    manifest = project.run_folder / "gate/cpu/manifest.json"
    outcome = project.manifest("gate/cpu")["record"]["verdict"]["outcome"]
    damage(manifest)
    before = project.content()
    refused(
        project.run("bundle", "--only", "--target", "cpu"),
        5,
        "its manifest",
        str(Path("runs/small/gate/cpu")),
        "Delete this folder and run the command again",
    )
    assert project.content() == before
    done = project.run("run", "--json")
    assert done.code == 0, done.told
    assert "its manifest" in done.err and "The stage gate runs again." in done.err
    assert [stage for stage, reused in done.reused().items() if not reused] == ["gate cpu"]
    assert project.manifest("gate/cpu")["record"]["verdict"]["outcome"] == outcome == "passed"


@pytest.mark.parametrize("damage", [truncate, flip])
def test_a_damaged_bundle(project: Project, damage: Callable[[Path], None]) -> None:
    (bundle,) = (project.run_folder / "bundle" / "cpu").glob("*.tmkd")
    damage(bundle)
    refused(project.run("bundle", "verify", str(bundle)), 5, bundle.name)
    refused(project.run("bundle", "run", str(bundle), "x.png"), 5, bundle.name)


def test_a_damaged_summary(project: Project) -> None:
    truncate(project.run_folder / "summary.json")
    done = project.run("compare", "runs/small", "runs/small")
    refused(done, 5, "not JSON", "summary.json", "tmkd-deploy report")


def test_the_engine_of_another_target_cannot_be_smuggled_in(project: Project) -> None:
    if not HAS_RTX:
        pytest.skip("the package tensorrt_rtx is not installed")
    shutil.copy(
        project.run_folder / "export/student-int8-signed-fp16/model.onnx",
        project.run_folder / "export/student-int8-unsigned-fp32/model.onnx",
    )
    refused(project.run("run"), 5, "export/student-int8-unsigned-fp32", "Delete this folder")
