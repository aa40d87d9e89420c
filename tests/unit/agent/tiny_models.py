"""Tiny ONNX files, and a folder to build them in; shared by the tests of this folder."""

from __future__ import annotations

import hashlib
import io
import json
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from tmkd_deploy.agent.child_processes import ChildProcesses
from tmkd_deploy.agent.transport.context import Context
from tmkd_deploy.agent.transport.reader import Reader
from tmkd_deploy.agent.transport.writer import Writer

SIDE = 16
CLASSES = 4


def model(
    operator: str = "Relu", quant_scheme: str = "signed", quantized: bool = True, domain: str = ""
) -> bytes:
    """Raw pixels to four logits through two convolutions, with `operator` between them."""
    random = np.random.default_rng(0)
    constants = {
        "weight": random.normal(size=(8, 3, 3, 3)).astype(np.float32) / 50,
        "head": random.normal(size=(CLASSES, 8, 1, 1)).astype(np.float32),
        "scale": np.float32(0.02),
        "zero": np.int8(0),
        "weight_scales": np.full(8, 0.01, np.float32),
        "weight_zeros": np.zeros(8, np.int8),
    }
    nodes = [
        helper.make_node("Cast", ["images"], ["float"], to=TensorProto.FLOAT),
        helper.make_node("Transpose", ["float"], ["pixels"], perm=[0, 3, 1, 2]),
    ]
    images, weight = "pixels", "weight"
    if quantized:
        images, weight = "pixels_dq", "weight_dq"
        nodes += [
            helper.make_node("QuantizeLinear", ["pixels", "scale", "zero"], ["pixels_q"]),
            helper.make_node("DequantizeLinear", ["pixels_q", "scale", "zero"], [images]),
            helper.make_node(
                "QuantizeLinear", ["weight", "weight_scales", "weight_zeros"], ["weight_q"], axis=0
            ),
            helper.make_node(
                "DequantizeLinear", ["weight_q", "weight_scales", "weight_zeros"], [weight], axis=0
            ),
        ]
    nodes += [
        helper.make_node("Conv", [images, weight], ["edges"], name="first", pads=[1] * 4),
        helper.make_node(operator, ["edges"], ["active"], name="between", domain=domain),
        helper.make_node("GlobalAveragePool", ["active"], ["pooled"]),
        helper.make_node("Conv", ["pooled", "head"], ["maps"], name="last"),
        helper.make_node("Flatten", ["maps"], ["logits"]),
    ]
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info("images", TensorProto.UINT8, ["batch", SIDE, SIDE, 3])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", CLASSES])],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )
    opsets = [helper.make_opsetid("", 17), *([helper.make_opsetid(domain, 1)] if domain else [])]
    proto = helper.make_model(graph, opset_imports=opsets, ir_version=8)
    helper.set_model_props(proto, {"tmkd_deploy.quant_scheme": quant_scheme})
    onnx.checker.check_model(proto)
    return proto.SerializeToString()


class WatchedChildren(ChildProcesses):
    """`ChildProcesses` that records what was started."""

    def __init__(self) -> None:
        super().__init__()
        self.started: list[list[str]] = []

    def start(self, argv: list[str]) -> subprocess.Popen[str]:
        self.started.append(argv)
        return super().start(argv)


class Bench:
    """A folder with a `Context` for it; `said` is what the host would read."""

    def __init__(self, folder: Path) -> None:
        for name in ("files", "results"):
            (folder / name).mkdir(parents=True)
        self.children = WatchedChildren()
        self._said = (folder / "said").open("wb")
        reader = Reader(io.BufferedReader(io.BytesIO()), lambda: None)  # type: ignore[arg-type]
        self.context = Context(folder, Writer(self._said.fileno()), reader, self.children)

    def put(self, content: bytes) -> str:
        sha256 = hashlib.sha256(content).hexdigest()
        (self.context.folder / "files" / sha256).write_bytes(content)
        return sha256

    def said(self, kind: str) -> list[dict[str, Any]]:
        lines = (self.context.folder / "said").read_text().splitlines()
        return [line for line in map(json.loads, lines) if line["type"] == kind]
