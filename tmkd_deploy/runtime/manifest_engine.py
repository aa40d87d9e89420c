"""One engine of a bundle, as its manifest describes it."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Any

from tmkd_deploy.runtime.decision import Decision
from tmkd_deploy.runtime.manifest_fields import optional, require, take

OUTCOMES = ("passed", "failed", "inconclusive", "not_judged")
TYPINGS = ("strong", "flags")
_PRECISIONS = ("fp32", "fp16", "int8")
_RELEASE = re.compile(r"\d{1,5}(\.\d{1,9}){1,3}")
_MOST_MEGABYTES = 1 << 20
_MOST_DLA_CORES = 16


@dataclass(frozen=True)
class MadeFor:
    """The only kind of machine that a TensorRT plan runs on.

    Attributes:
        release: of the runtime, such as 10.3.0.30.
        compute_capability: of the GPU, such as 87.
        dla_core: the deep learning accelerator that it runs on; None for the GPU.
    """

    release: str
    compute_capability: int
    dla_core: int | None


@dataclass(frozen=True)
class BuildRecipe:
    """What it takes to build an engine on another machine.

    Attributes:
        onnx: name of the member with the ONNX model.
        precision: `fp32`, `fp16` or `int8`.
        typing: `strong`, if layers compute in the types of the model, or `flags`, if TensorRT 8
            chooses.
        workspace_mb: the most memory for the builder in MB; None for its default.
        dla_core: the deep learning accelerator to build for; None for the GPU.
    """

    onnx: str
    precision: str
    typing: str
    workspace_mb: int | None
    dla_core: int | None


@dataclass(frozen=True)
class BundledEngine:
    """One engine of a bundle, and all that belongs to it.

    Attributes:
        target: the target the engine was built for.
        runtime: `onnxruntime`, `openvino`, `tensorrt` or `tensorrt_rtx`.
        precision: `fp32`, `fp16` or `int8`.
        engine: name of the engine's member.
        golden_inputs: name of the member with the golden images.
        golden_outputs: name of the member with their logits.
        golden_tolerance: largest allowed absolute difference of a golden image's logit.
        gate: outcome of the gate: `passed`, `failed`, `inconclusive` or `not_judged`.
        gate_checks: the gate's checks with their limits, measured values and explanations.
        accuracy: the measured accuracy; None if not measured.
        latency: the measured latency in milliseconds; None if not measured.
        threads: number of threads the engine was timed with; None if it was not timed.
        decision: the class that must not be missed, with a threshold of its own; None if the class
            with the highest logit is the answer.
        guarded_class: the name of that class; None likewise.
        threshold: the probability from which an image is of that class, in [0, 1]; None likewise.
        golden_classes: the classes of the golden images under that threshold; None likewise.
        made_for: where a TensorRT plan runs; None if the engine runs anywhere.
        build: how to build it elsewhere; None if that is not needed, or not known.
    """

    target: str
    runtime: str
    precision: str
    engine: str
    golden_inputs: str
    golden_outputs: str
    golden_tolerance: float
    gate: str
    gate_checks: tuple[dict[str, Any], ...]
    accuracy: dict[str, Any] | None
    latency: dict[str, Any] | None
    threads: int | None
    decision: Decision | None = None
    guarded_class: str | None = None
    threshold: float | None = None
    golden_classes: tuple[str, ...] | None = None
    made_for: MadeFor | None = None
    build: BuildRecipe | None = None

    @property
    def members(self) -> tuple[str, ...]:
        """The names of the members that belong to it."""
        onnx = (self.build.onnx,) if self.build else ()
        return (self.engine, self.golden_inputs, self.golden_outputs, *onnx)


def parse_engine(document: dict[str, Any], class_names: tuple[str, ...]) -> BundledEngine:
    """Parse an entry of a manifest's `engines`.

    Raises:
        UnfitError: it is not valid.
    """
    golden, gate = take(document, "golden", dict), take(document, "gate", dict)
    engine = BundledEngine(
        target=take(document, "target", str),
        runtime=take(document, "runtime", str),
        precision=take(document, "precision", str),
        engine=take(document, "engine", str),
        golden_inputs=take(golden, "inputs", str),
        golden_outputs=take(golden, "outputs", str),
        golden_tolerance=take(golden, "tolerance", float),
        gate=take(gate, "outcome", str),
        gate_checks=tuple(take(gate, "checks", list)),
        accuracy=optional(document, "accuracy", dict),
        latency=optional(document, "latency", dict),
        threads=optional(document, "threads", int),
        made_for=_made_for(optional(document, "made_for", dict)),
        build=_build(optional(document, "build", dict)),
        **_decision(document, golden, class_names),
    )
    require(0 <= engine.golden_tolerance < math.inf, "golden.tolerance")
    require(engine.threads is None or engine.threads >= 1, "threads")
    require(engine.gate in OUTCOMES, "gate.outcome")
    require(all(isinstance(check, dict) for check in engine.gate_checks), "gate.checks")
    return engine


def _decision(
    document: dict[str, Any], golden: dict[str, Any], class_names: tuple[str, ...]
) -> dict[str, Any]:
    """The fields of `BundledEngine` on a threshold; none if there is no `decision`."""
    if "decision" not in document:
        require("classes" not in golden, "decision")
        return {}
    decision = take(document, "decision", dict)
    guarded_class, threshold = take(decision, "class", str), take(decision, "threshold", float)
    golden_classes = tuple(take(golden, "classes", list))
    require(guarded_class in class_names, "decision.class")
    require(0 <= threshold <= 1, "decision.threshold")
    require(all(name in class_names for name in golden_classes), "golden.classes")
    return {
        "decision": Decision.of(class_names, guarded_class, threshold),
        "guarded_class": guarded_class,
        "threshold": threshold,
        "golden_classes": golden_classes,
    }


def _made_for(document: dict[str, Any] | None) -> MadeFor | None:
    if document is None:
        return None
    release = take(document, "release", str)
    capability = take(document, "compute_capability", int)
    require(_RELEASE.fullmatch(release) is not None, "made_for.release")
    require(10 <= capability <= 999, "made_for.compute_capability")
    return MadeFor(release, capability, _dla_core(document, "made_for.dla_core"))


def _build(document: dict[str, Any] | None) -> BuildRecipe | None:
    if document is None:
        return None
    precision, typing = take(document, "precision", str), take(document, "typing", str)
    workspace_mb = optional(document, "workspace_mb", int)
    require(precision in _PRECISIONS, "build.precision")
    require(typing in TYPINGS, "build.typing")
    require(workspace_mb is None or 1 <= workspace_mb <= _MOST_MEGABYTES, "build.workspace_mb")
    dla_core = _dla_core(document, "build.dla_core")
    return BuildRecipe(take(document, "onnx", str), precision, typing, workspace_mb, dla_core)


def _dla_core(document: dict[str, Any], key: str) -> int | None:
    core = optional(document, "dla_core", int)
    require(core is None or 0 <= core < _MOST_DLA_CORES, key)
    return core
