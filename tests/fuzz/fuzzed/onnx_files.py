"""ONNX files, for bundles, builders and devices."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hypothesis import strategies as st
from mutations import EXTREMES, mutated

from fuzzed.bundles import NEEDS, documented, members, try_bundle, with_member
from fuzzed.target import Attempts, Target, agent_errors


def _model() -> bytes:
    return members()["engine-0.onnx"]


@st.composite
def _models(draw: st.DrawFn) -> bytes:
    """The engine with its bytes, its tensors or its graph changed."""
    if draw(st.integers(0, 2)) == 0:
        return draw(mutated(_model()))
    content = with_changed_graph(draw, _model())
    return draw(mutated(content)) if draw(st.integers(0, 5)) == 0 else content


OPERATORS = [
    *(
        "Relu",
        "Softmax",
        "Loop",
        "If",
        "Scan",
        "Expand",
        "Tile",
        "Resize",
        "Conv",
        "MatMul",
        "Nope",
    ),
    *("Log", "Sqrt", "Reshape", "ConstantOfShape", "Range", "QuantizeLinear", "Identity", "Pad"),
]


def with_changed_graph(draw: st.DrawFn, model: bytes) -> bytes:
    """The model after up to three changes of its graph."""
    import onnx

    proto = onnx.load_from_string(model)
    for _ in range(draw(st.integers(1, 3))):
        _change_graph(draw, proto)
    content: bytes = proto.SerializeToString()
    return content


def _change_graph(draw: st.DrawFn, proto: Any) -> None:
    graph = proto.graph
    what = draw(st.sampled_from(range(11)))
    nodes = [node for node in graph.node if node is not None]
    node = draw(st.sampled_from(nodes)) if nodes else None
    number = draw(st.sampled_from(EXTREMES[:13]) | st.integers(0, 2**31 - 1))
    if what == 0 and node:
        node.op_type = draw(st.sampled_from(OPERATORS))
    elif what == 1 and node and node.input:
        node.input[0] = draw(st.sampled_from(["pixels", "logits", "", "weights", "means", "none"]))
    elif what == 2 and node and node.output:
        node.output[0] = draw(st.sampled_from(["pixels", "logits", "", "flat", "x"]))
    elif what == 3 and graph.initializer:
        graph.initializer[0].dims[:] = draw(st.lists(st.sampled_from([0, 1, 3, 9, -1, number])))
    elif what == 4 and graph.initializer:
        graph.initializer[0].data_type = draw(st.integers(0, 30))
    elif what == 5:
        value = draw(st.sampled_from([*graph.input, *graph.output]))
        shape = value.type.tensor_type.shape
        if shape.dim:
            draw(st.sampled_from(list(shape.dim))).dim_value = number
    elif what == 6:
        value = draw(st.sampled_from([*graph.input, *graph.output]))
        value.type.tensor_type.elem_type = draw(st.integers(0, 30))
    elif what == 7:
        proto.opset_import[0].version = number
    elif what == 8:
        proto.ir_version = number
    elif what == 9 and graph.initializer:
        tensor = graph.initializer[0]
        tensor.data_location = 1
        entry = tensor.external_data.add()
        entry.key, entry.value = (
            "location",
            draw(st.sampled_from(["../canary/secret", "/etc/passwd", "x"])),
        )
    elif node and node.attribute:
        node.attribute[0].i = number
        node.attribute[0].type = draw(st.integers(0, 14))


def _try_model(content: bytes, folder: Path) -> Attempts:
    yield from try_bundle(with_member("engine-0.onnx", content), folder)
    file = folder / "model.onnx"
    file.write_bytes(content)
    yield from _try_builder(file, folder)
    yield from _try_agent(file)


def _try_builder(file: Path, folder: Path) -> Attempts:
    from colour_bundle import SIDE

    from tmkd_deploy.engines.onnxruntime import OnnxRuntime
    from tmkd_deploy.targets import catalog

    runtime, profile = OnnxRuntime(), catalog.get("cpu")
    yield lambda: runtime.build(file, "fp32", SIDE, profile, folder)
    yield lambda: runtime.open(file, 1)


def _try_agent(file: Path) -> Attempts:
    from tmkd_deploy.agent.build.build_request import read_metadata
    from tmkd_deploy.agent.inference.sessions import open_session

    yield lambda: read_metadata(file)
    yield lambda: open_session("onnxruntime", file, 1, None)


TARGETS = [
    Target(
        "onnx files",
        _models,
        _model,
        _try_model,
        lambda: (*documented(), *agent_errors()),
        share=2,
        needs=NEEDS,
    ),
]
