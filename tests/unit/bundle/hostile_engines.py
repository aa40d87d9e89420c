"""The colour engine with additions that an application should never run."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import onnx
from colour_bundle import colour_model
from onnx import TensorProto, helper, numpy_helper

FLOAT, INT64, BOOL = TensorProto.FLOAT, TensorProto.INT64, TensorProto.BOOL


def changed(change: Callable[[onnx.ModelProto], object]) -> bytes:
    """The colour engine after `change`."""
    model = onnx.load_model_from_string(colour_model())
    change(model)
    return bytes(model.SerializeToString())


def ending_with(nodes: Sequence[onnx.NodeProto], **constants: np.ndarray) -> bytes:
    """The colour engine whose logits, now named `scores`, `nodes` turn into `logits`."""

    def change(model: onnx.ModelProto) -> None:
        model.graph.node[-1].output[0] = "scores"
        model.graph.node.extend(nodes)
        model.graph.initializer.extend(
            numpy_helper.from_array(value, name) for name, value in constants.items()
        )

    return changed(change)


def loop() -> bytes:
    """Two rounds only, so that a test without the check fails instead of waiting for ever."""
    body = helper.make_graph(
        [helper.make_node("Identity", ["go"], ["on"]), helper.make_node("Abs", ["x"], ["y"])],
        "body",
        [
            helper.make_tensor_value_info("round", INT64, []),
            helper.make_tensor_value_info("go", BOOL, []),
            helper.make_tensor_value_info("x", FLOAT, None),
        ],
        [
            helper.make_tensor_value_info("on", BOOL, []),
            helper.make_tensor_value_info("y", FLOAT, None),
        ],
    )
    node = helper.make_node("Loop", ["rounds", "true", "scores"], ["logits"], body=body)
    return ending_with([node], rounds=np.array(2, np.int64), true=np.array(True))


def branch() -> bytes:
    sides = {
        f"{side}_branch": helper.make_graph(
            [helper.make_node("Abs", ["scores"], [side])],
            side,
            [],
            [helper.make_tensor_value_info(side, FLOAT, None)],
        )
        for side in ("then", "else")
    }
    return ending_with([helper.make_node("If", ["true"], ["logits"], **sides)], true=np.array(True))


def own_function() -> bytes:
    def change(model: onnx.ModelProto) -> None:
        absolute = helper.make_function(
            "mine",
            "Absolute",
            ["x"],
            ["y"],
            [helper.make_node("Abs", ["x"], ["y"])],
            [helper.make_opsetid("", 18)],
        )
        model.functions.append(absolute)
        model.opset_import.append(helper.make_opsetid("mine", 1))
        model.graph.node[-1].output[0] = "scores"
        model.graph.node.append(helper.make_node("Absolute", ["scores"], ["logits"], domain="mine"))

    return changed(change)


def foreign_operator() -> bytes:
    return ending_with(
        [helper.make_node("FusedGemm", ["scores", "eye"], ["logits"], domain="com.microsoft")],
        eye=np.eye(3, dtype=np.float32),
    )


def weights_elsewhere(location: str) -> bytes:
    def change(model: onnx.ModelProto) -> None:
        (weights,) = model.graph.initializer
        onnx.external_data_helper.set_external_data(weights, location)
        weights.ClearField("raw_data")

    return changed(change)


def constant_elsewhere(location: str) -> bytes:
    """The same in an attribute instead of an initializer."""
    tensor = numpy_helper.from_array(np.zeros(3, np.float32), "zeros")
    onnx.external_data_helper.set_external_data(tensor, location)
    tensor.ClearField("raw_data")
    return ending_with(
        [
            helper.make_node("Constant", [], ["zeros"], value=tensor),
            helper.make_node("Add", ["scores", "zeros"], ["logits"]),
        ]
    )


def sparse() -> bytes:
    values = helper.make_tensor("zeros", FLOAT, [1], [0.0])
    indices = helper.make_tensor("indices", INT64, [1], [0])

    def change(model: onnx.ModelProto) -> None:
        model.graph.node[-1].output[0] = "scores"
        model.graph.node.append(helper.make_node("Add", ["scores", "zeros"], ["logits"]))
        model.graph.sparse_initializer.append(helper.make_sparse_tensor(values, indices, [3]))

    return changed(change)


def circle() -> bytes:
    """Two operators that wait for each other."""
    return ending_with(
        [
            helper.make_node("Add", ["scores", "behind"], ["before"]),
            helper.make_node("Abs", ["before"], ["behind"]),
            helper.make_node("Abs", ["behind"], ["logits"]),
        ]
    )


def own_tail() -> bytes:
    return ending_with([helper.make_node("Add", ["scores", "logits"], ["logits"])])


def future_opset() -> bytes:
    def change(model: onnx.ModelProto) -> None:
        model.opset_import[0].version = 325_734_044

    return changed(change)


def hungry(gibibytes: int) -> bytes:
    """An engine that asks for memory as soon as it runs."""
    return ending_with(
        [
            helper.make_node("Size", ["pixels"], ["size"]),
            helper.make_node("Min", ["size", "length"], ["least"]),
            helper.make_node("Max", ["least", "length"], ["long"]),
            helper.make_node("ConstantOfShape", ["long"], ["zeros"]),
            helper.make_node("ReduceMax", ["zeros"], ["zero"], keepdims=0),
            helper.make_node("Add", ["scores", "zero"], ["logits"]),
        ],
        length=np.array([gibibytes << 28], np.int64),
    )


def slow(multiplications: int) -> bytes:
    """An engine that multiplies matrices of 2000 x 2000, 16 billion operations each time."""
    steps = [
        helper.make_node("MatMul", [f"square{step}", "square0"], [f"square{step + 1}"])
        for step in range(multiplications)
    ]
    return ending_with(
        [
            helper.make_node("ReduceSum", ["scores"], ["sum"], keepdims=0),
            helper.make_node("Mul", ["sum", "nothing"], ["zero"]),
            helper.make_node("Expand", ["zero", "side"], ["square0"]),
            *steps,
            helper.make_node("ReduceMax", [f"square{multiplications}"], ["most"], keepdims=0),
            helper.make_node("Add", ["scores", "most"], ["logits"]),
        ],
        nothing=np.array(0, np.float32),
        side=np.array([2000, 2000], np.int64),
    )
