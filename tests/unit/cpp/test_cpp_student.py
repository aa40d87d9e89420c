"""A trained student decides in C++ as it does in Python."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from colour_bundle import packed
from cpp_build import Built
from format_versions import as_version

from tmkd_deploy.engines.interface import variant_for
from tmkd_deploy.engines.onnxruntime import OnnxRuntime
from tmkd_deploy.runtime import load
from tmkd_deploy.runtime.onnxruntime_session import create_session
from tmkd_deploy.runtime.preprocess import Preprocessing

FRAMES = 1000
GOLDEN = 16


@pytest.fixture(params=["fp32", "int8"])
def student(
    request: pytest.FixtureRequest, digits: Any, exported_digits: Any, tmp_path: Path
) -> Path:
    """The digits' network in a bundle."""
    model, _ = exported_digits(variant_for(OnnxRuntime(), request.param))
    images = digits.data.images("test")[:GOLDEN]
    session = create_session(str(model), threads=1)
    name = session.get_inputs()[0].name
    logits = np.concatenate([session.run(None, {name: image[None]})[0] for image in images])
    return packed(
        tmp_path / "student",
        model=model.read_bytes(),
        precision=request.param,
        class_names=[f"digit {number}" for number in range(10)],
        preprocessing=Preprocessing(32, 32, "letterbox", grayscale=True),
        golden_images=images,
        golden_logits=logits,
        golden_tolerance=1e-3,
    )[0]


@pytest.mark.parametrize("version", [2, 3])
def test_every_decision_is_pythons(built: Built, digits: Any, student: Path, version: int) -> None:
    python = load(student, threads=1)
    as_version(student, version)  # its golden images run in C++ when the probe loads it
    random = np.random.default_rng(0)
    images = digits.data.images("test")
    frames = []
    for number in range(FRAMES if version == 2 else 10):
        height, width = random.integers(20, 80, 2)
        frame = random.integers(0, 256, (height, width, 3), dtype=np.uint8)
        if number % 2:  # a digit somewhere in the noise
            frame[:20, :20] = images[number % len(images)][6:26, 6:26]
        frames.append(frame)
    given = b"".join(np.array(f.shape[:2], "<i4").tobytes() + f.tobytes() for f in frames)
    record = np.dtype([("index", "<f8"), ("confidence", "<f8"), ("logits", "<f4", 10)])
    found = np.frombuffer(built.probe("predict", str(student), given=given), record)
    expected = [python.predict(frame) for frame in frames]
    assert [int(one["index"]) for one in found] == [one.index for one in expected]
    np.testing.assert_allclose(
        found["logits"], np.stack([one.logits for one in expected]), atol=1e-4
    )
    confidences = [one.confidence for one in expected]
    np.testing.assert_allclose(found["confidence"], confidences, atol=1e-4)
