"""Packing the colour engine into a bundle."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

from colour_bundle import Pack, packed

from tmkd_deploy.bundle.pack import BundleRecord


@pytest.fixture
def pack_colours(tmp_path: Path) -> Pack:
    """Packs the colour engine; any argument of `pack` may be given, and `model` its bytes."""

    def make(**changes: Any) -> tuple[Path, BundleRecord]:
        return packed(tmp_path / f"bundle-{len(list(tmp_path.iterdir()))}", **changes)

    return make


@pytest.fixture
def bundle(pack_colours: Pack) -> Path:
    return pack_colours()[0]
