"""The C++ runtime, built once for all its tests."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

from colour_bundle import packed
from cpp_build import Built, build, onnxruntime_root, require_compiler
from made_once import made_once


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> Built:
    require_compiler()
    onnxruntime_root()
    return Built(made_once("cpp", tmp_path_factory, build))


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    """The colour engine, packed."""
    return packed(tmp_path / "bundle")[0]
