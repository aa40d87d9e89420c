"""What an explanation is made of; readable without torch, onnx or any runtime."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum

from tmkd_deploy.records.types import Precision, RuntimeName


class Kind(str, Enum):
    """What was found; one file a kind, or a few that are read from the same place."""

    BLOCKED_PAIR = "blocked_pair"
    PER_TENSOR_WEIGHT = "per_tensor_weight"
    UNQUANTIZED_RESIDUAL = "unquantized_residual"
    WRONG_SIGN = "wrong_sign"
    EXCLUDED = "excluded"
    FLOAT_LAYER = "float_layer"
    REFORMATS = "reformats"
    SLOWER_THAN_SIBLING = "slower_than_sibling"
    LARGER_THAN_SIBLING = "larger_than_sibling"
    SATURATION = "saturation"
    LARGEST_DROP = "largest_drop"


@dataclass(frozen=True)
class Finding:
    """One thing that costs speed or accuracy, where it is, and what to change.

    `layer` is the module path in the user's model, as `quantize.exclude_layers` takes it, or
    None for the whole engine; `node` is the node of the ONNX file. `problem` and `advice` are
    complete sentences, and findings with the same advice belong together. `certain` is False
    where it may be chance.
    """

    kind: Kind
    problem: str
    advice: str
    layer: str | None = None
    node: str | None = None
    certain: bool = True


@dataclass(frozen=True)
class EngineLayer:
    """One layer as the engine runs it.

    `computes_in` is one of `TYPES`: int8, fp16, fp32, reformat for what only converts or moves
    numbers, and pointwise for kernels that a builder makes of several operations on single values.
    `layer` is the layer in the user's model that it belongs to or follows. `time_share` lies in
    [0, 1]; None where the engine could not be timed.
    """

    name: str
    operator: str
    computes_in: str
    layer: str | None
    time_share: float | None


@dataclass(frozen=True)
class EngineView:
    """An engine in the words of its own runtime.

    `source` says where the words come from, `untimed` why there are no times.
    """

    source: str
    layers: list[EngineLayer]
    untimed: str | None = None


@dataclass(frozen=True)
class Share:
    """How much of an engine computes in one type; both shares lie in [0, 1]."""

    computes_in: str
    layers: int
    share_of_layers: float
    share_of_time: float | None


@dataclass(frozen=True)
class Explanation:
    """All that is known of why one engine is as slow and as accurate as it is."""

    target: str
    runtime: RuntimeName
    precision: Precision
    engine: EngineView | None
    shares: list[Share]
    slowest: list[EngineLayer]
    speed: list[Finding]
    accuracy: list[Finding]
    notes: list[str] = field(default_factory=list)
    next: str = ""


TYPES = ("int8", "fp16", "fp32", "pointwise", "reformat")


def shares(view: EngineView) -> list[Share]:
    """How many layers, and how much of the time, each type takes; types without layers left out."""
    found = []
    for name in TYPES:
        chosen = [layer for layer in view.layers if layer.computes_in == name]
        if chosen:
            times = [layer.time_share for layer in chosen if layer.time_share is not None]
            found.append(
                Share(
                    name,
                    len(chosen),
                    len(chosen) / len(view.layers),
                    sum(times) if times else None,
                )
            )
    return found


def slowest(view: EngineView, count: int = 5) -> list[EngineLayer]:
    """The layers that take the most time, slowest first; empty where nothing was timed."""
    timed = [layer for layer in view.layers if layer.time_share is not None]
    return sorted(timed, key=lambda layer: -(layer.time_share or 0.0))[:count]
