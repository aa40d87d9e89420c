"""What the engine's own layers tell: where it computes in floating point, and where it converts."""

from __future__ import annotations

from collections.abc import Collection

from tmkd_deploy.explain.interface import EngineLayer, EngineView, Finding, Kind

# below these shares a layer or the conversions are no reason for a slow engine
_NOTABLE_LAYER = 0.05
_NOTABLE_REFORMATS = 0.10
_NAMED_AT_MOST = 5
_FLOATS = ("fp16", "fp32")
_WEIGHTED = ("conv", "corr", "gemm", "matmul")

_ADVICE_FLOAT = (
    "If its own output is not rounded, or its operator has no integer form in this runtime, choose "
    "a student without it; otherwise add its neighbours to quantize.exclude_layers, so that the "
    "conversions around it disappear."
)
_ADVICE_REFORMATS = (
    "Every place where integers meet floating point costs conversions: choose a student without "
    "these operators, or name the layers next to them in quantize.exclude_layers too."
)


def float_layers(view: EngineView, explained: Collection[str | None]) -> list[Finding]:
    """One finding for each layer of an INT8 engine that takes notable time in floating point.

    Where nothing was timed, every convolution and matrix product counts. `explained` are layers
    that other findings name already.
    """
    findings = []
    for layer in view.layers:
        if layer.computes_in not in _FLOATS or layer.layer in explained:
            continue
        if layer.time_share is None:
            if not any(kind in layer.operator.lower() for kind in _WEIGHTED):
                continue
            share = ""
        elif layer.time_share < _NOTABLE_LAYER:
            continue
        else:
            share = f" and takes {100 * layer.time_share:.0f} % of the time"
        findings.append(
            Finding(
                Kind.FLOAT_LAYER,
                f"{describe(layer)} computes in {layer.computes_in.upper()}{share}.",
                _ADVICE_FLOAT,
                layer.layer,
                layer.name,
            )
        )
    return findings


def reformats(view: EngineView) -> list[Finding]:
    """One finding where converting and moving values is a notable part of the engine."""
    found = [layer for layer in view.layers if layer.computes_in == "reformat"]
    timed = any(layer.time_share is not None for layer in found)
    share = sum(layer.time_share or 0.0 for layer in found) if timed else _part(found, view)
    if not found or share < _NOTABLE_REFORMATS:
        return []
    kinds = ", ".join(sorted({layer.operator for layer in found}))
    # what computes before the first layer is the normalisation of pixels, which is no mistake
    floats = [each for each in view.layers if each.computes_in in _FLOATS and each.layer]
    around = ", ".join(list(dict.fromkeys(map(_place, floats)))[:_NAMED_AT_MOST])
    return [
        Finding(
            Kind.REFORMATS,
            f"{len(found)} of {len(view.layers)} layers only convert or move values ({kinds}), "
            f"which is {100 * share:.0f} % {'of the time' if timed else 'of all layers'}."
            + (f" In floating point in between: {around}." if around else ""),
            _ADVICE_REFORMATS,
        )
    ]


def describe(layer: EngineLayer) -> str:
    """An engine's layer in the user's words, such as `layer1.0.conv1 (QLinearConv)`."""
    return f"{layer.layer or layer.name} ({layer.operator})"


def _place(layer: EngineLayer) -> str:
    return f"{layer.operator} at or after {layer.layer}"


def _part(found: list[EngineLayer], view: EngineView) -> float:
    return len(found) / max(len(view.layers), 1)
