"""What of a model makes a stage run again."""

from __future__ import annotations

from pathlib import Path

import pytest
from own_package import install

from tmkd_deploy.pipeline.model_params import model_params, named
from tmkd_deploy.recipe.schema import Student


def test_a_file_of_weights_counts_by_content_and_not_by_place(tmp_path: Path) -> None:
    paths = [tmp_path / "a.pth", tmp_path / "b.pth"]
    for path in paths:
        path.write_bytes(b"first")
    first, same = (model_params(Student(weights=str(path))) for path in paths)
    assert first == same
    paths[0].write_bytes(b"other")
    assert model_params(Student(weights=str(paths[0]))) != first
    paths[0].unlink()
    assert model_params(Student(weights=str(paths[0])))["weights"] is None


def test_a_name_of_weights_counts_as_it_is() -> None:
    assert model_params(Student(weights="pretrained"))["weights"] == "pretrained"


def test_a_package_counts_by_its_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    module = install(tmp_path)
    before = named("acme-nets:tiny")
    assert before["package"]["version"] == "1.0" and named("resnet18")["package"] is None
    module.write_text(module.read_text() + "# changed\n")
    assert named("acme-nets:tiny") != before
