"""The layers of an ONNX Runtime engine: its optimised graph and a profile."""

from __future__ import annotations

import contextlib
import json
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from tmkd_deploy.errors import EnvironmentProblem, MissingExtra
from tmkd_deploy.explain.graph import Graph, LayerNames
from tmkd_deploy.explain.interface import EngineLayer, EngineView
from tmkd_deploy.runtime.onnxruntime_session import session_options

_RUNS = 60
_WARM_UP = 10
_KERNEL = "_kernel_time"
_REFORMATS = {
    *("QuantizeLinear", "DequantizeLinear", "Cast", "Transpose"),
    *("ReorderInput", "ReorderOutput"),
}
_INTEGERS = {"int8", "uint8"}
_INTEGER_OPERATORS = {"QGemm", "MatMulInteger", "ConvInteger", "MatMulIntegerToFloat"}


def view(engine: Path, source: Graph, threads: int) -> EngineView:
    """The nodes that ONNX Runtime runs for `engine` on this machine, with their shares of time.

    The session has the application's options. Images are random, because run times do not depend on
    their values.

    Args:
        engine: the engine's file.
        source: the exported graph, which has the names of the layers.
        threads: of the session.

    Raises:
        MissingExtra: ONNX Runtime is not installed.
        EnvironmentProblem: ONNX Runtime rejects the model.
    """
    runs, optimised = _profiled(engine, threads)
    # medians, because on a busy machine a few runs take many times as long
    times = np.median([[event["dur"] for event in events] for events in runs], axis=0)
    names, graph = LayerNames(source), Graph(optimised)
    layers = []
    # the file lists nodes in execution order, and not all of them have a name
    kinds = [event["args"]["op_name"] for event in runs[0]]
    in_file_order = kinds == [node.op_type for node in graph.nodes]
    for index, event in enumerate(runs[0]):
        name, operator = event["name"].removesuffix(_KERNEL), kinds[index]
        node = graph.nodes[index] if in_file_order else None
        own, near = (graph.layer(node), graph.near(node)) if node is not None else (None, None)
        layers.append(
            EngineLayer(
                name=name,
                operator=operator,
                computes_in=_computes_in(operator, event["args"]),
                # the optimiser may have stored the weight again, without its name
                layer=own or names.of(name) or near,
                time_share=float(times[index] / max(times.sum(), 1.0)),
            )
        )
    return EngineView(
        f"ONNX Runtime's optimised graph and a profile of {_RUNS - _WARM_UP} images on this "
        f"machine, with {threads} {'thread' if threads == 1 else 'threads'}",
        layers,
    )


def _computes_in(operator: str, record: dict[str, Any]) -> str:
    if operator in _REFORMATS:
        return "reformat"
    first, result = (
        _first_type(record[side]) for side in ("input_type_shape", "output_type_shape")
    )
    # a layer may take integers and return floats; Shape takes integers and computes nothing
    if first in _INTEGERS and (result in _INTEGERS or operator in _INTEGER_OPERATORS):
        return "int8"
    return "fp16" if first == "float16" else "fp32"


def _first_type(entries: list[dict[str, Any]]) -> str | None:
    # a profile lists the type and shape of each tensor as a mapping with one entry
    return next((kind for entry in entries for kind in entry), None)


def _profiled(engine: Path, threads: int) -> tuple[list[list[dict[str, Any]]], onnx.ModelProto]:
    """The node events of each counted run in execution order, and the optimised graph."""
    try:
        import onnxruntime  # noqa: PLC0415 - loaded on use
    except ImportError as error:
        raise MissingExtra("Explaining this engine", "train", "onnxruntime") from error
    with tempfile.TemporaryDirectory() as folder:
        options = session_options(threads=threads)
        options.optimized_model_filepath = str(Path(folder) / "optimised.onnx")
        options.enable_profiling = True
        options.profile_file_prefix = str(Path(folder) / "profile")
        with _refusals(engine):
            session = onnxruntime.InferenceSession(
                str(engine), options, providers=["CPUExecutionProvider"]
            )
        pixels = session.get_inputs()[0]
        shape = [1, *(int(length) for length in pixels.shape[1:])]
        image = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
        for _ in range(_RUNS):
            session.run(None, {pixels.name: image})
        trace = json.loads(Path(session.end_profiling()).read_text(encoding="utf-8"))
        optimised = onnx.load(options.optimized_model_filepath)
    kernels = [event for event in trace if str(event.get("name", "")).endswith(_KERNEL)]
    nodes = len(kernels) // _RUNS
    runs = [kernels[run * nodes : (run + 1) * nodes] for run in range(_WARM_UP, _RUNS)]
    return runs, optimised


@contextlib.contextmanager
def _refusals(engine: Path) -> Iterator[None]:
    try:
        yield
    except Exception as error:  # ONNX Runtime's errors derive directly from Exception
        raise EnvironmentProblem(
            f"ONNX Runtime rejects the model: {error}",
            where=str(engine),
            advice="Check that this version of ONNX Runtime supports the model's opset.",
        ) from error
