"""Explain the speed and accuracy of one engine of a run."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import onnx

from tmkd_deploy import artifacts
from tmkd_deploy.data.prepared import DataRecord, PreparedData
from tmkd_deploy.engines.registry import runtime
from tmkd_deploy.engines.variants import variants_for
from tmkd_deploy.errors import RequestError
from tmkd_deploy.explain import engine_findings, other_precisions, profiled, tensorrt
from tmkd_deploy.explain.accuracy_drop import RANK_LAYERS, largest_drop
from tmkd_deploy.explain.findings import graph_findings
from tmkd_deploy.explain.graph import Graph, LayerNames
from tmkd_deploy.explain.interface import (
    EngineView,
    Explanation,
    Finding,
    Kind,
    shares,
    slowest,
)
from tmkd_deploy.explain.unusable_engine import fp16_overflow, unusable_engine
from tmkd_deploy.records.engine import EngineRecord
from tmkd_deploy.records.measurements import EngineFile, Measurements, Unusable
from tmkd_deploy.records.onnx_model import MODEL, OnnxRecord
from tmkd_deploy.records.types import RuntimeName
from tmkd_deploy.targets import catalog as profiles

_NO_LAYERS = (
    "The engine is built on the device and its layer list is not available here, so this explains "
    "the ONNX file that it is built from."
)
_OVERFLOW_IMAGES = 8
_UNMEASURED = "This target has not been measured yet, so accuracy and latency are not explained."
_FIXED_BY_EXPORT = {Kind.WRONG_SIGN, Kind.PER_TENSOR_WEIGHT, Kind.UNQUANTIZED_RESIDUAL}


@dataclass(frozen=True)
class _Run:
    """The artifacts of one target in a run folder."""

    folder: Path
    target: str
    engines: artifacts.Artifact[EngineRecord]
    measured: Measurements | None
    excluded_layers: list[str]


def explain(run: Path, target: str, engine: str, arguments: str = "") -> Explanation:
    """Explain the engine of `target` that is called `engine` in the run folder `run`.

    `arguments` are what a command needs to go on with this run: its recipe and --runs, quoted.

    Raises:
        RequestError: the target has no engine of this name.
        ArtifactError: an artifact of the run is missing, damaged or of another version.
        MissingExtra: the engine's runtime is required but not installed.
    """
    found = _read(run, target)
    record = found.engines.record
    built = {each.name: each for each in record.engines}
    if engine not in built:
        raise RequestError(
            f"The run has no {engine} engine for {target!r}.",
            where=str(run),
            advice=f"It has {', '.join(built)}; choose a precision with --precision.",
        )
    file = built[engine]
    precision, ran_by = file.precision, file.runtime or record.runtime
    source = _source(found, file)
    view, notes = _engine_view(found, source, file)
    speed: list[Finding] = []
    accuracy: list[Finding] = []
    if precision == "int8":
        scheme = runtime(ran_by).quant_scheme
        speed += graph_findings(source, scheme, found.excluded_layers, ran_by)
        if view:
            speed += engine_findings.float_layers(view, {each.layer for each in speed})
            speed += engine_findings.reformats(view)
    top = slowest(view) if view else []
    latency = found.measured.latency if found.measured else None
    speed += other_precisions.slower_than_others(engine, latency, top)
    speed += other_precisions.larger_than_others(precision, record.engines)
    if found.measured is None:
        notes.append(_UNMEASURED)
    else:
        accuracy, remarks = largest_drop(found.measured.ledger, file)
        notes += remarks
        accuracy += other_precisions.saturation(precision, latency)
        broken = found.measured.unusable.get(engine)
        accuracy = [
            *unusable_engine(broken),
            *_overflow(found, source, file, broken),
            *accuracy,
        ]
    return Explanation(
        target=target,
        runtime=ran_by,
        precision=precision,
        engine=view,
        shares=shares(view) if view else [],
        slowest=top,
        speed=speed,
        accuracy=accuracy,
        notes=notes,
        next=_next(found, ran_by, [*speed, *accuracy], arguments),
    )


def _overflow(
    found: _Run, source: Graph, engine: EngineFile, broken: Unusable | None
) -> list[Finding]:
    """What FP16 overflows on: the first image that broke the engine, and a few others."""
    builder = runtime(engine.runtime or found.engines.record.runtime)
    computes_in = builder.float_precision if engine.precision == "int8" else engine.precision
    folder = found.folder / "prepare"
    if computes_in != "fp16" or not (folder / artifacts.MANIFEST).exists():
        return []
    images = PreparedData.load(artifacts.read(folder, "prepare", DataRecord)).images("test")
    chosen = list(range(min(_OVERFLOW_IMAGES, len(images))))
    if broken and broken.first_image is not None:
        chosen.insert(0, broken.first_image)
    return fp16_overflow(source, images[chosen])


def built_engines(run: Path) -> dict[str, list[EngineFile]]:
    """The engines in a run folder, by target in alphabetical order.

    Raises:
        ArtifactError: an artifact is damaged or of another version.
    """
    found = {}
    for manifest in sorted(run.glob(f"build/*/{artifacts.MANIFEST}")):
        record = artifacts.read(manifest.parent, "build", EngineRecord).record
        found[record.target] = record.engines
    return found


def _read(run: Path, target: str) -> _Run:
    measured = None
    if (run / "measure" / target / artifacts.MANIFEST).exists():
        measured = artifacts.read(run / "measure" / target, "measure", Measurements).record
    excluded_layers: list[str] = []
    if (run / "quantize" / artifacts.MANIFEST).exists():
        excluded_layers = artifacts.read_manifest(run / "quantize").record.get(
            "excluded_layers", []
        )
    engines = artifacts.read(run / "build" / target, "build", EngineRecord)
    return _Run(run, target, engines, measured, excluded_layers)


def _source(found: _Run, engine: EngineFile) -> Graph:
    """The ONNX file that an engine was built from.

    A device recorded the hash of its file; that for a DLA lies beside the engine. Without such a
    record it is the first variant, which is meant for the target's newest software.
    """
    recorded = _recorded_hash(found.engines, engine.name)
    for_dla = found.engines.manifest.files.get(f"{engine.name}.dla.onnx")
    if for_dla is not None and for_dla.sha256 == recorded:
        return Graph(onnx.load(found.engines.path(f"{engine.name}.dla.onnx")))
    for variant in variants_for(profiles.get(found.target), engine.precision):
        folder = found.folder / "export" / variant.name
        if recorded is None or folder.exists():
            exported = artifacts.read(folder, "export", OnnxRecord)
            if recorded in (None, exported.manifest.files[MODEL].sha256):
                return Graph(onnx.load(exported.path(MODEL)))
    raise RequestError(
        f"The ONNX file that the {engine.name} engine of {found.target!r} was built from is gone.",
        where=str(found.folder / "export"),
        advice="Rebuild the engine with: tmkd-deploy export",
    )


def _recorded_hash(engines: artifacts.Artifact[EngineRecord], engine: str) -> str | None:
    """The hash of the ONNX file that a device built from, from the manifest next to its engine."""
    sidecar = f"{engine}.manifest.json"
    if sidecar not in engines.manifest.files:
        return None
    return str(json.loads(engines.path(sidecar).read_text(encoding="utf-8"))["onnx"]["sha256"])


def _engine_view(
    found: _Run, source: Graph, engine: EngineFile
) -> tuple[EngineView | None, list[str]]:
    ran_by = engine.runtime or found.engines.record.runtime
    if ran_by in profiled.VIEWS:
        latency = found.measured.latency if found.measured else None
        threads = int(latency.protocol.get("threads", 1)) if latency else 1
        view = profiled.VIEWS[ran_by]
        return view(found.engines.path(engine.file), source, threads), []
    layers = f"{engine.name}.layers.json"
    if layers not in found.engines.manifest.files:
        return None, [_NO_LAYERS]
    return tensorrt.view(found.engines.path(layers), LayerNames(source), ran_by), []


def _next(found: _Run, ran_by: RuntimeName, findings: Sequence[Finding], arguments: str) -> str:
    """The command that helps most with these findings."""
    target = f"{arguments} --target {found.target}".lstrip()
    if found.measured is None:
        return f"tmkd-deploy validate {target}"
    if any(each.kind in _FIXED_BY_EXPORT for each in findings):
        quantize = f"tmkd-deploy quantize {arguments}".rstrip()
        return f"{quantize} --force, then tmkd-deploy validate {target}"
    blocked = [each.layer for each in findings if each.kind is Kind.BLOCKED_PAIR and each.layer]
    # on other runtimes a blocked pair costs less than excluding the layer would
    if blocked and ran_by == "onnxruntime":
        names = ", ".join(dict.fromkeys(blocked))
        return f"tmkd-deploy validate {target} --set 'quantize.exclude_layers=[{names}]'"
    drops = [each for each in findings if each.kind is Kind.LARGEST_DROP and each.certain]
    if any(RANK_LAYERS in each.advice for each in drops):
        return f"{RANK_LAYERS} {arguments}".rstrip()
    if drops:
        return f"tmkd-deploy report {target}, and look at the ledger of {found.target}"
    return f"tmkd-deploy gate {target}"
