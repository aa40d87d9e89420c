"""Packing the colour engine into a bundle."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

from colour_bundle import COLOURS, SIDE, Pack, colour_model, measurements, solid, verdict

from tmkd_deploy.bundle.pack import BundleRecord, pack
from tmkd_deploy.runtime.onnxruntime_session import create_session
from tmkd_deploy.runtime.preprocess import Preprocessing


@pytest.fixture
def pack_colours(tmp_path: Path) -> Pack:
    """Packs the colour engine; any argument of `pack` may be given, and `model` its bytes."""

    def packed(**changes: Any) -> tuple[Path, BundleRecord]:
        into = tmp_path / f"bundle-{len(list(tmp_path.iterdir()))}"
        into.mkdir()
        model = changes.pop("model", colour_model())
        engine = tmp_path / "fp32.onnx"
        engine.write_bytes(model)
        images = np.stack([solid(colour) for colour in COLOURS])
        session = create_session(colour_model(), threads=1)
        arguments: dict[str, Any] = {
            "name": "colours",
            "engine": engine,
            "precision": "fp32",
            "runtime": "onnxruntime",
            "measurements": measurements(),
            "verdict": verdict(),
            "class_names": COLOURS,
            "preprocessing": Preprocessing(SIDE, SIDE),
            "golden_images": images,
            "golden_logits": session.run(None, {"pixels": images})[0],
            "golden_tolerance": 1e-3,
            "into": into,
        }
        record = pack(**(arguments | changes))
        return into / record.file, record

    return packed


@pytest.fixture
def bundle(pack_colours: Pack) -> Path:
    return pack_colours()[0]
