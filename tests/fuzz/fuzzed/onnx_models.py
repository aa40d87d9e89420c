"""ONNX files in place of a recipe's model."""

from __future__ import annotations

import functools
from pathlib import Path

import numpy as np
from hypothesis import strategies as st
from mutations import mutated

from fuzzed.onnx_files import with_changed_graph
from fuzzed.target import Attempts, Target, tmkd_errors

SIDE = 8
NEEDS = ("onnx", "torch", "timm")


@functools.cache
def _model() -> bytes:
    """A small classifier with what exporters write around its layers."""
    from onnx import TensorProto, helper, numpy_helper

    constants = {
        "kernel": np.full((4, 3, 3, 3), 0.1, np.float32),
        "weight": np.ones((4, 2), np.float32),
        "bias": np.zeros(2, np.float32),
        "one": np.array([1], np.int64),
        "shape": np.array([0, -1], np.int64),
    }
    nodes = [
        helper.make_node("Conv", ["images", "kernel"], ["maps"], pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["maps"], ["active"]),
        helper.make_node("Shape", ["active"], ["lengths"]),
        helper.make_node("Gather", ["lengths", "one"], ["channels"]),
        helper.make_node("GlobalAveragePool", ["active"], ["pooled"]),
        helper.make_node("Reshape", ["pooled", "shape"], ["flat"]),
        helper.make_node("MatMul", ["flat", "weight"], ["logits"]),
        helper.make_node("Add", ["logits", "bias"], ["scores"]),
        helper.make_node("Softmax", ["scores"], ["probabilities"], axis=-1),
    ]
    images = helper.make_tensor_value_info("images", TensorProto.FLOAT, ["n", 3, SIDE, SIDE])
    scores = helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["n", 2])
    held = [numpy_helper.from_array(value, name) for name, value in constants.items()]
    graph = helper.make_graph(nodes, "graph", [images], [scores], held)
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    content: bytes = proto.SerializeToString()
    return content


@st.composite
def _models(draw: st.DrawFn) -> bytes:
    """The classifier with its bytes or its graph changed."""
    if draw(st.integers(0, 2)) == 0:
        return draw(mutated(_model()))
    return with_changed_graph(draw, _model())


def _try_model(content: bytes, folder: Path) -> Attempts:
    from tmkd_deploy.models.classifier import create

    file = folder / "model.onnx"
    file.write_bytes(content)
    yield lambda: create(str(file), 2, {}, SIDE, scratch=True)


TARGETS = [Target("onnx models", _models, _model, _try_model, tmkd_errors, needs=NEEDS)]
