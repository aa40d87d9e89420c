"""The layers of an OpenVINO engine: its compiled model and the times of its layers."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from tmkd_deploy.engines.openvino import compile_file
from tmkd_deploy.engines.openvino_layers import INTEGERS, CompiledLayer, compiled_layers
from tmkd_deploy.explain.graph import Graph, LayerNames
from tmkd_deploy.explain.interface import EngineLayer, EngineView

if TYPE_CHECKING:
    import openvino

_RUNS = 60
_WARM_UP = 10
_REFORMATS = {"Reorder", "Transpose", "Reshape", "Convert", "FakeQuantize"}


def view(engine: Path, source: Graph, threads: int) -> EngineView:
    """The layers that OpenVINO runs for `engine` on this machine, with their shares of time.

    The session has the application's options. Images are random, because run times do not depend on
    their values.

    Args:
        engine: the engine's file.
        source: the exported graph, which has the names of the layers.
        threads: of the session.

    Raises:
        MissingExtra: OpenVINO is not installed.
        EnvironmentProblem: OpenVINO rejects the model.
    """
    model = compile_file(engine, threads, timed=True)
    times = _microseconds(model)
    names = LayerNames(source)
    layers: list[EngineLayer] = []
    for layer in compiled_layers(model):
        # a reshape may leave nothing to do, and the quickest layers take less than is counted
        if not times.get(layer.name) and not layer.is_weighted:
            continue
        own = next(filter(None, map(names.of, _original_names(layer))), None)
        layers.append(
            EngineLayer(
                name=layer.name,
                operator=layer.kind,
                computes_in=_computes_in(layer),
                layer=own or (layers[-1].layer if layers else None),
                time_share=times.get(layer.name, 0.0) / max(sum(times.values()), 1.0),
            )
        )
    return EngineView(
        f"OpenVINO's compiled model and a profile of {_RUNS - _WARM_UP} images on this machine, "
        f"with {threads} {'thread' if threads == 1 else 'threads'}",
        layers,
    )


def _microseconds(model: openvino.CompiledModel) -> dict[str, float]:
    """The median time of each layer, in whole microseconds as OpenVINO counts them."""
    request = model.create_infer_request()
    image = np.random.default_rng(0).integers(0, 256, tuple(model.input().shape), dtype=np.uint8)
    runs: list[dict[str, float]] = []
    for _ in range(_RUNS):
        request.infer([image], share_inputs=True)
        timed = request.profiling_info
        runs.append({each.node_name: each.real_time.total_seconds() * 1e6 for each in timed})
    # medians, because on a busy machine a few runs take many times as long
    return {name: float(np.median([run[name] for run in runs[_WARM_UP:]])) for name in runs[-1]}


def _original_names(layer: CompiledLayer) -> list[str]:
    """The names of the ONNX nodes; OpenVINO appends a part, as in node_conv2d/WithoutBiases."""
    return [source.partition("/")[0] for source in layer.sources]


def _computes_in(layer: CompiledLayer) -> str:
    if layer.kind in _REFORMATS:
        return "reformat"
    if layer.kind == "Subgraph":  # a kernel that is generated for several operations
        return "pointwise"
    if layer.computes_in in INTEGERS:
        return "int8"
    return {"bf16": "bf16", "f16": "fp16"}.get(layer.computes_in, "fp32")
