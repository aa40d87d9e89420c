"""The parts of an explanation; importable without torch, onnx or any runtime."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum

from tmkd_deploy.records.types import Precision, RuntimeName


class Kind(str, Enum):
    """The kinds of findings."""

    BLOCKED_PAIR = "blocked_pair"
    PER_TENSOR_WEIGHT = "per_tensor_weight"
    UNQUANTIZED_RESIDUAL = "unquantized_residual"
    WRONG_SIGN = "wrong_sign"
    EXCLUDED = "excluded"
    FLOAT_LAYER = "float_layer"
    REFORMATS = "reformats"
    SLOWER_THAN_OTHER_PRECISION = "slower_than_other_precision"
    LARGER_THAN_OTHER_PRECISION = "larger_than_other_precision"
    SATURATION = "saturation"
    LARGEST_DROP = "largest_drop"
    FP16_OVERFLOW = "fp16_overflow"
    UNUSABLE = "unusable"


@dataclass(frozen=True)
class Finding:
    """One thing that costs speed or accuracy, where it is, and what to change.

    `layer` is the module path in the user's model, as in `quantize.exclude_layers`, or None for the
    whole engine; `node` is the node in the ONNX file. `problem` and `advice` are complete
    sentences; findings with the same advice belong together. `certain` is False if the finding may
    be due to chance.
    """

    kind: Kind
    problem: str
    advice: str
    layer: str | None = None
    node: str | None = None
    certain: bool = True


@dataclass(frozen=True)
class EngineLayer:
    """One layer of an engine.

    `computes_in` is one of `TYPES`: int8, fp16, fp32, reformat for layers that only convert or move
    values, and pointwise for kernels that a builder fuses from several element-wise operations.
    `layer` is the layer of the user's model that it implements or follows. `time_share` lies in
    [0, 1] and is None without a profile.
    """

    name: str
    operator: str
    computes_in: str
    layer: str | None
    time_share: float | None


@dataclass(frozen=True)
class EngineView:
    """An engine's layers as its runtime reports them.

    `source` names the origin of the layers, `untimed` explains why there are no times.
    """

    source: str
    layers: list[EngineLayer]
    untimed: str | None = None


@dataclass(frozen=True)
class Share:
    """How much of an engine computes in one type; shares lie in [0, 1]."""

    computes_in: str
    layers: int
    share_of_layers: float
    share_of_time: float | None


@dataclass(frozen=True)
class Explanation:
    """Why one engine is as fast and as accurate as it is; `next` is the command to run next."""

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


TYPES = ("int8", "bf16", "fp16", "fp32", "pointwise", "reformat")


def shares(view: EngineView) -> list[Share]:
    """The layers and the share of time of each type; types without layers are omitted."""
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
    """The slowest layers, slowest first; empty without times."""
    timed = [layer for layer in view.layers if layer.time_share is not None]
    return sorted(timed, key=lambda layer: -(layer.time_share or 0.0))[:count]
