"""What each layer gains from INT8 on a target, from profiles of its engines."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

import onnx

from tmkd_deploy import artifacts
from tmkd_deploy.engines.interface import variant_for
from tmkd_deploy.engines.registry import runtime
from tmkd_deploy.explain import profiled
from tmkd_deploy.explain.graph import Graph
from tmkd_deploy.records.engine import EngineRecord
from tmkd_deploy.records.measurements import Measurements
from tmkd_deploy.records.onnx_model import MODEL, OnnxRecord
from tmkd_deploy.records.types import Precision

_PRECISIONS: tuple[Precision, Precision] = ("fp32", "int8")


def gains(run: Path) -> dict[str, dict[str, float]]:
    """Milliseconds that each layer saves in the INT8 engine against FP32, by target and layer.

    A layer's time is its share of the engine's profile, recorded now on this machine, times the
    median latency in the run folder. Nodes without weights, conversions included, count toward the
    layer before them. Only CPU targets with both engines measured have an entry.

    Raises:
        ArtifactError: an artifact of the run is damaged or of another version.
        MissingExtra: a runtime is not installed.
    """
    found = {}
    for manifest in sorted(run.glob(f"measure/*/{artifacts.MANIFEST}")):
        measured = artifacts.read(manifest.parent, "measure", Measurements).record
        latency = measured.latency
        medians = {row.engine: row.p50_ms for row in latency.rows} if latency else {}
        if measured.runtime not in profiled.VIEWS or not medians.keys() >= set(_PRECISIONS):
            continue
        threads = int(latency.protocol.get("threads", 1)) if latency else 1
        wide, narrow = (
            _milliseconds(run, measured.target, precision, threads, medians[precision])
            for precision in _PRECISIONS
        )
        found[measured.target] = {layer: wide[layer] - narrow[layer] for layer in wide}
    return found


def _milliseconds(
    run: Path, target: str, precision: Precision, threads: int, median: float
) -> defaultdict[str, float]:
    engines = artifacts.read(run / "build" / target, "build", EngineRecord)
    # the target's own runtime, whose engines are called after their precision
    file = next(each.file for each in engines.record.engines if each.name == precision)
    variant = variant_for(runtime(engines.record.runtime), precision)
    exported = artifacts.read(run / "export" / variant.name, "export", OnnxRecord)
    source = Graph(onnx.load(exported.path(MODEL)))
    times: defaultdict[str, float] = defaultdict(float)
    view = profiled.VIEWS[engines.record.runtime]
    for layer in view(engines.path(file), source, threads).layers:
        if layer.layer:
            times[layer.layer] += (layer.time_share or 0.0) * median
    return times
