"""An engine against the other precisions that were built beside it, and what the processor does."""

from __future__ import annotations

from collections.abc import Sequence

from tmkd_deploy.explain.engine_findings import describe
from tmkd_deploy.explain.interface import EngineLayer, Finding, Kind
from tmkd_deploy.records.measurements import EngineFile, Latency
from tmkd_deploy.records.types import Precision

_ADVICE_SLOWER = (
    "The gate ships the faster engine; to make this one faster, act on the findings on its layers, "
    "or choose a student that quantizes well on this runtime."
)
_ADVICE_LARGER = (
    "Many small kernels and their constants cost more than narrow weights save; on a small student "
    "the FP16 engine may be the better one to ship."
)
_ADVICE_SATURATION = (
    "Leave ONNX Runtime's precise mode on, as this program does by default, or use a processor "
    "with VNNI."
)


def slower_than_siblings(
    precision: Precision, latency: Latency | None, slowest: Sequence[EngineLayer]
) -> list[Finding]:
    """One finding for each sibling that is faster beyond the interval of their ratio."""
    findings = []
    for each in latency.ratios if latency else ():
        pair = {each.numerator, each.denominator}
        other = next(iter(pair - {precision}), None)
        if precision not in pair or other in (None, "teacher"):
            continue
        low, high = each.interval
        ratio = each.ratio
        if each.denominator == precision:  # the other's time over ours
            low, ratio, high = 1 / high, 1 / ratio, 1 / low
        if low <= 1:
            continue
        consumers = ", ".join(
            f"{describe(layer)} with {100 * (layer.time_share or 0):.0f} %" for layer in slowest[:3]
        )
        findings.append(
            Finding(
                Kind.SLOWER_THAN_SIBLING,
                f"The {precision.upper()} engine takes {ratio:.2f} times as long as the "
                f"{str(other).upper()} engine ({low:.2f} to {high:.2f})."
                + (f" Most of its time goes into {consumers}." if consumers else ""),
                _ADVICE_SLOWER,
            )
        )
    return findings


def larger_than_siblings(precision: Precision, engines: Sequence[EngineFile]) -> list[Finding]:
    """One finding for each wider precision whose engine is nevertheless smaller."""
    widths = {"int8": 1, "fp16": 2, "fp32": 4}
    sizes = {engine.precision: engine.bytes for engine in engines}
    own = sizes.get(precision)
    findings = []
    for other, size in sizes.items():
        if own is not None and widths[other] > widths[precision] and own > size:
            findings.append(
                Finding(
                    Kind.LARGER_THAN_SIBLING,
                    f"The {precision.upper()} engine ({own / 1e6:.2f} MB) is larger than the "
                    f"{other.upper()} engine ({size / 1e6:.2f} MB).",
                    _ADVICE_LARGER,
                )
            )
    return findings


def saturation(precision: Precision, latency: Latency | None) -> list[Finding]:
    """One finding where 8-bit products were added in 16 bits, which may overflow."""
    machine = latency.machine if latency else {}
    if precision != "int8" or machine.get("vnni") is not False or machine.get("precise_int8"):
        return []
    return [
        Finding(
            Kind.SATURATION,
            f"{machine.get('processor', 'The processor')} has no VNNI, and the precise mode was "
            "off: it adds pairs of 8-bit products in 16 bits, where large ones saturate and cost "
            "accuracy.",
            _ADVICE_SATURATION,
        )
    ]
