"""Predictions of a real ONNX model, made by the agent's own process."""

from __future__ import annotations

import io
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

IMAGES = np.random.default_rng(0).integers(0, 256, (5, 8, 8, 3), np.uint8)


def model(classes: int = 4) -> bytes:
    """Pixels, uint8 [n, 8, 8, 3], through a convolution and a mean to logits, float32."""
    weights = np.random.default_rng(1).normal(size=(classes, 3, 3, 3)).astype(np.float32)
    nodes = [
        onnx.helper.make_node("Cast", ["images"], ["floats"], to=onnx.TensorProto.FLOAT),
        onnx.helper.make_node("Transpose", ["floats"], ["planes"], perm=[0, 3, 1, 2]),
        onnx.helper.make_node("Conv", ["planes", "weights"], ["maps"]),
        onnx.helper.make_node("GlobalAveragePool", ["maps"], ["means"]),
        onnx.helper.make_node("Flatten", ["means"], ["logits"]),
    ]
    graph = onnx.helper.make_graph(
        nodes,
        "small",
        [onnx.helper.make_tensor_value_info("images", onnx.TensorProto.UINT8, ["n", 8, 8, 3])],
        [onnx.helper.make_tensor_value_info("logits", onnx.TensorProto.FLOAT, ["n", classes])],
        [onnx.numpy_helper.from_array(weights, "weights")],
    )
    opset = [onnx.helper.make_opsetid("", 17)]
    whole: bytes = onnx.helper.make_model(graph, opset_imports=opset, ir_version=8)
    return whole.SerializeToString()


def npy(array: Any) -> bytes:
    stream = io.BytesIO()
    np.save(stream, array, allow_pickle=array.dtype == object)
    return stream.getvalue()


@pytest.fixture
def locked(start: Callable[..., Any]) -> Any:
    """An agent with the installed packages that holds the lock."""
    agent = start(python=(sys.executable,))
    agent.line()
    agent.request("lock", owner="the test")
    return agent


def asked(agent: Any, engine: str, images: str, **more: Any) -> dict[str, Any]:
    return {
        "runtime": "onnxruntime",
        "engine": engine,
        "images": images,
        "threads": 1,
        "precise_int8": None,
        **more,
    }


@pytest.mark.parametrize("runtime", ["onnxruntime", "openvino"])
def test_predictions_are_those_of_a_session_opened_here(locked: Any, runtime: str) -> None:
    from tmkd_deploy.runtime.runtimes import open_session
    from tmkd_deploy.runtime.session_options import SessionOptions

    pytest.importorskip(runtime)
    content = model()
    engine, images = locked.upload(content), locked.upload(npy(IMAGES))
    request = asked(locked, engine, images, runtime=runtime)
    answer = locked.request("predict", **request)
    progress = [line for line in locked.messages if line["type"] == "progress"]
    assert (progress[-1]["done"], progress[-1]["total"]) == (len(IMAGES), len(IMAGES))
    logits = np.load(locked.folder / "files" / answer["logits"], allow_pickle=False)
    here = open_session(runtime, content, SessionOptions())
    expected = [here.infer(IMAGES[i : i + 1]) for i in range(len(IMAGES))]
    assert logits.dtype == np.float32
    np.testing.assert_array_equal(logits, np.concatenate(expected))


def test_a_repeated_request_is_answered_from_the_cache(
    locked: Any, start: Callable[..., Any]
) -> None:
    request = asked(locked, locked.upload(model()), locked.upload(npy(IMAGES)))
    first = locked.request("predict", **request)
    remembered = [path.stat().st_ino for path in (locked.folder / "results").iterdir()]
    assert locked.request("predict", **request) == first
    assert locked.messages == []
    locked.close()
    later = start(python=(sys.executable,))
    later.line()
    later.request("lock", owner="the test")
    assert later.request("predict", **request) == first
    assert later.messages == []
    assert [path.stat().st_ino for path in (later.folder / "results").iterdir()] == remembered
    # another number of threads is another request, and a deleted file is made again
    assert later.request("predict", **{**request, "threads": 2}) and later.messages
    (later.folder / "files" / first["logits"]).unlink()
    assert later.request("predict", **request) == first
    assert later.messages


def test_an_impossible_prediction_is_reported(locked: Any) -> None:
    engine, images = locked.upload(model()), locked.upload(npy(IMAGES))
    garbage = locked.upload(b"no model")
    refused = locked.refused("predict", **asked(locked, garbage, images))
    assert refused["code"] == "data"
    assert "is not an ONNX model" in refused["problem"]
    absent = locked.refused("predict", **asked(locked, "0" * 64, images))
    assert (absent["code"], absent["where"]) == ("data", "0" * 64)
    unknown = locked.refused("predict", **asked(locked, engine, images, runtime="abacus"))
    assert unknown["code"] == "request"
    for wrong in (
        npy(IMAGES.astype(np.float32)),
        npy(IMAGES[0]),
        npy(IMAGES[:0]),
        npy(IMAGES[..., :1]),
        npy(np.array([{"a": "pickle"}], object)),
        npy(IMAGES)[:-1],
        b"",
    ):
        request = asked(locked, engine, locked.upload(wrong))
        assert locked.refused("predict", **request)["code"] == "data"
    assert locked.request("predict", **asked(locked, engine, images))


def test_a_missing_runtime_is_reported_with_the_command_that_installs_it(
    start: Callable[..., Any],
) -> None:
    bare = start()
    bare.line()
    bare.request("lock", owner="the test")
    missing = bare.refused("predict", **asked(bare, bare.upload(model()), "0" * 64))
    assert missing["code"] == "environment"
    assert "pip install" in missing["advice"]
