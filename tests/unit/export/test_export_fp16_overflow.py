"""FP16 overflow in real graphs, found although ONNX Runtime computes them in FP32 here."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator
from recorded_events import RecordedEvents

from tmkd_deploy.explain.graph import Graph
from tmkd_deploy.explain.interface import Kind
from tmkd_deploy.explain.unusable_engine import fp16_overflow
from tmkd_deploy.export.export import export
from tmkd_deploy.export.fp16 import to_fp16
from tmkd_deploy.export.fp16_overflow import first_overflow
from tmkd_deploy.records.onnx_model import Variant

SIDE = 8


def graph(first: float, second: float) -> onnx.ModelProto:
    """Two layers, each with a factor for its weights, in FP32."""
    weights = {"one": (4, 3, 1, 1), "two": (2, 4, 1, 1)}
    factors = {"one": first, "two": second}
    nodes = [
        helper.make_node("Cast", ["images"], ["float"], to=TensorProto.FLOAT),
        helper.make_node("Transpose", ["float"], ["pixels"], perm=[0, 3, 1, 2]),
        helper.make_node("Conv", ["pixels", "classifier.network.one.weight"], ["a"], "first"),
        helper.make_node("Relu", ["a"], ["b"], "relu"),
        helper.make_node("Conv", ["b", "classifier.network.two.weight"], ["c"], "second"),
        helper.make_node("GlobalAveragePool", ["c"], ["d"]),
        helper.make_node("Flatten", ["d"], ["logits"]),
    ]
    proto = helper.make_model(
        helper.make_graph(
            nodes,
            "two layers",
            [helper.make_tensor_value_info("images", TensorProto.UINT8, ["n", SIDE, SIDE, 3])],
            [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["n", 2])],
            [
                numpy_helper.from_array(
                    np.full(shape, factors[name], np.float32), f"classifier.network.{name}.weight"
                )
                for name, shape in weights.items()
            ],
        ),
        opset_imports=[helper.make_opsetid("", 20)],
        ir_version=10,
    )
    onnx.checker.check_model(proto)
    return proto


BRIGHT, DARK = np.full((2, 1, SIDE, SIDE, 3), [[[[[200]]]], [[[[1]]]]], np.uint8)


def overflowing(half: onnx.ModelProto, images: np.ndarray) -> str | None:
    node = first_overflow(half, images)
    return None if node is None else Graph(half).layer(node)


def test_the_first_layer_that_overflows_is_named() -> None:
    # each weight stays within FP16; 3 * 200 * 150 is more than 65,504
    proto = graph(150.0, 1e-3)
    half = to_fp16(proto)
    with np.errstate(all="ignore"):  # what a GPU computes; ONNX Runtime widens FP16 on this CPU
        (logits,) = ReferenceEvaluator(half).run(None, {"images": BRIGHT})
    assert not np.isfinite(logits).any()
    assert overflowing(half, BRIGHT) == "one"
    assert overflowing(half, DARK) is None
    assert overflowing(half, np.concatenate([DARK, BRIGHT])) == "one"
    assert overflowing(proto, BRIGHT) is None  # in FP32 nothing overflows
    assert overflowing(to_fp16(graph(1.0, 1e3)), BRIGHT) == "two"
    (finding,) = fp16_overflow(Graph(half), BRIGHT)
    assert (finding.kind, finding.layer, finding.node) == (Kind.FP16_OVERFLOW, "one", "first")
    assert finding.problem.startswith("The output of one exceeds 65,504, the largest finite")
    assert fp16_overflow(Graph(half), DARK) == []


def test_the_export_warns_and_goes_on(digits: Any, tmp_path: Path) -> None:
    import torch

    classifier = digits.classifier()
    modules = dict(classifier.named_modules())
    with torch.no_grad():
        for name in ("bn1", "bn2"):
            modules[f"network.backbone.layer2.0.{name}"].weight.mul_(1e3)
    events = RecordedEvents()
    export(digits.recipe, digits.data, classifier, Variant("student", "fp16"), tmp_path, events)
    (warning,) = events.warnings
    assert "the output of layer2.0.conv2 exceeds 65,504" in warning
