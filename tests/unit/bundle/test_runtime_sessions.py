"""Opening engines by the name of their runtime, with the real ONNX Runtime."""

from __future__ import annotations

from pathlib import Path
from typing import get_args

import hostile_engines
import numpy as np
import pytest
from colour_bundle import COLOURS, SIDE, colour_model, solid
from onnx import helper

from tmkd_deploy.records.types import RuntimeName
from tmkd_deploy.runtime.engine_errors import EngineError, NoClassifierError, RejectedEngineError
from tmkd_deploy.runtime.onnx_check import UnsafeModelError
from tmkd_deploy.runtime.runtimes import RUNTIMES, open_session
from tmkd_deploy.runtime.session_options import SessionOptions


def test_every_runtime_of_a_target_has_a_session() -> None:
    assert set(get_args(RuntimeName)) == set(RUNTIMES)


@pytest.mark.parametrize("batch", ["batch", 1])
def test_a_session_says_what_it_takes_and_takes_any_number(
    tmp_path: Path, batch: int | str
) -> None:
    file = tmp_path / "model.onnx"
    file.write_bytes(colour_model(batch=batch))
    images = np.stack([solid(colour) for colour in COLOURS])
    for engine in (file, file.read_bytes()):
        session = open_session("onnxruntime", engine, SessionOptions())
        assert session.input_shape == (SIDE, SIDE, 3)
        assert session.classes == len(COLOURS)
        logits = session.infer(images)
        assert logits.shape == (3, 3) and logits.dtype == np.float32
        assert logits.argmax(axis=1).tolist() == [0, 1, 2]
        session.close()


def test_what_is_no_classifier_is_refused() -> None:
    for model in (
        colour_model(batch=4),
        hostile_engines.ending_with(
            [
                helper.make_node("ReduceMax", ["scores"], ["logits"], keepdims=0),
            ]
        ),
    ):
        with pytest.raises(NoClassifierError, match=r"tensor\(uint8\)"):
            open_session("onnxruntime", model, SessionOptions())
    with pytest.raises(UnsafeModelError):
        open_session("onnxruntime", b"no model", SessionOptions())
    with pytest.raises(RejectedEngineError, match=r"ONNX Runtime \d.* rejects the model: "):
        broken = colour_model().replace(b"GlobalAveragePool", b"GlobalAverageFool")
        open_session("onnxruntime", broken, SessionOptions())


def test_an_engine_that_fails_says_so() -> None:
    session = open_session("onnxruntime", colour_model(), SessionOptions())
    with pytest.raises(EngineError, match="The engine fails: "):
        session.infer(np.zeros((1, SIDE, SIDE + 1, 3), np.uint8))
