"""The reference evaluation rounds as the standard says, in every version of ONNX Runtime."""

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from tmkd_deploy.export.reference import reference_logits

pytest.importorskip("onnxruntime")


@pytest.mark.parametrize("kind", [np.float16, np.float32])
def test_quotients_are_rounded_to_the_nearest_level(tmp_path, kind):
    elements = TensorProto.FLOAT16 if kind is np.float16 else TensorProto.FLOAT
    scale = kind(0.0123)
    nodes = [
        helper.make_node("Cast", ["images"], ["whole"], to=elements),
        helper.make_node("Mul", ["whole", "share"], ["x"]),
        helper.make_node("QuantizeLinear", ["x", "scale", "zero"], ["levels"]),
        helper.make_node("Cast", ["levels"], ["logits"], to=TensorProto.FLOAT),
    ]
    stored = {"share": kind(1 / 255), "scale": scale, "zero": np.int8(0)}
    graph = helper.make_graph(
        nodes,
        "graph",
        [helper.make_tensor_value_info("images", TensorProto.UINT8, ["N", 256])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["N", 256])],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in stored.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    onnx.save(model, tmp_path / "model.onnx")
    images = np.arange(256, dtype=np.uint8)[None]
    found = reference_logits(tmp_path / "model.onnx", images)
    expected = np.rint((images.astype(kind) * kind(1 / 255)).astype(np.float64) / float(scale))
    assert np.array_equal(found, expected)
