"""Compare an engine with the others of its target; check for INT8 saturation."""

from __future__ import annotations

from collections.abc import Sequence

from tmkd_deploy.explain.engine_findings import describe
from tmkd_deploy.explain.interface import EngineLayer, Finding, Kind
from tmkd_deploy.records.engine_names import engine_title
from tmkd_deploy.records.latency import Latency
from tmkd_deploy.records.measurements import EngineFile
from tmkd_deploy.records.types import Precision

_ADVICE_SLOWER = (
    "The gate ships the faster engine. To speed this one up, act on the findings on its layers, or "
    "choose a student that quantizes well on this runtime."
)
_ADVICE_LARGER = (
    "On a small student, many small kernels and their constants cost more than narrow weights "
    "save; consider shipping the FP16 engine."
)
_ADVICE_SATURATION = (
    "Leave ONNX Runtime's precise mode on, which is the default on such processors, or use a "
    "processor with VNNI."
)


def slower_than_others(
    engine: str, latency: Latency | None, slowest: Sequence[EngineLayer]
) -> list[Finding]:
    """One finding for each other engine that is faster beyond the interval of the ratio."""
    findings = []
    for each in latency.ratios if latency else ():
        pair = {each.numerator, each.denominator}
        other = next(iter(pair - {engine}), None)
        if engine not in pair or other in (None, "teacher"):
            continue
        low, high = each.interval
        ratio = each.ratio
        if each.denominator == engine:  # the other's time over ours
            low, ratio, high = 1 / high, 1 / ratio, 1 / low
        if low <= 1:
            continue
        consumers = "; ".join(
            f"{describe(layer)}, {100 * (layer.time_share or 0):.0f} %" for layer in slowest[:3]
        )
        findings.append(
            Finding(
                Kind.SLOWER_THAN_OTHER_PRECISION,
                f"The {engine_title(engine)} engine takes {ratio:.2f} times as long as the "
                f"{engine_title(str(other))} engine ({low:.2f} to {high:.2f})."
                + (f" Most of its time is spent in: {consumers}." if consumers else ""),
                _ADVICE_SLOWER,
            )
        )
    return findings


def larger_than_others(precision: Precision, engines: Sequence[EngineFile]) -> list[Finding]:
    """One finding for each wider precision whose engine is smaller."""
    widths = {"int8": 1, "bf16": 2, "fp16": 2, "fp32": 4}
    sizes = {engine.precision: engine.bytes for engine in engines}
    own = sizes.get(precision)
    findings = []
    for other, size in sizes.items():
        if own is not None and widths[other] > widths[precision] and own > size:
            findings.append(
                Finding(
                    Kind.LARGER_THAN_OTHER_PRECISION,
                    f"The {precision.upper()} engine ({own / 1e6:.2f} MB) is larger than the "
                    f"{other.upper()} engine ({size / 1e6:.2f} MB).",
                    _ADVICE_LARGER,
                )
            )
    return findings


def saturation(precision: Precision, latency: Latency | None) -> list[Finding]:
    """One finding if 8-bit products were added in 16 bits, which may saturate."""
    machine = latency.machine if latency else {}
    if precision != "int8" or machine.get("vnni") is not False or machine.get("precise_int8"):
        return []
    return [
        Finding(
            Kind.SATURATION,
            f"{machine.get('processor', 'The processor')} has no VNNI, and precise mode was off: "
            "it adds pairs of 8-bit products in 16 bits, so large sums saturate and cost accuracy.",
            _ADVICE_SATURATION,
        )
    ]
