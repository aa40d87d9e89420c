"""Findings from an engine's layers: where it computes in floating point, and where it converts."""

from __future__ import annotations

from collections.abc import Collection

from tmkd_deploy.explain.interface import EngineLayer, EngineView, Finding, Kind

# below these shares, a layer or the conversions do not explain a slow engine
_NOTABLE_LAYER = 0.05
_NOTABLE_REFORMATS = 0.10
_NAMED_AT_MOST = 5
_FLOATS = ("bf16", "fp16", "fp32")
_WEIGHTED = ("conv", "corr", "gemm", "matmul")

_ADVICE_FLOAT = (
    "If its output is not quantized or this runtime has no integer kernel for its operator, choose "
    "a student without it; otherwise add its neighbours to quantize.exclude_layers to remove the "
    "conversions around it."
)
_ADVICE_REFORMATS = (
    "Every boundary between integer and floating-point layers costs conversions. Choose a student "
    "without these operators, or add the layers next to them to quantize.exclude_layers."
)


def float_layers(view: EngineView, explained: Collection[str | None]) -> list[Finding]:
    """One finding for each layer of an INT8 engine that spends notable time in floating point.

    Without times, every convolution and matrix product counts. `explained` layers, which other
    findings cover, are skipped.
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
    """One finding if conversions and moves are a notable part of the engine."""
    found = [layer for layer in view.layers if layer.computes_in == "reformat"]
    timed = any(layer.time_share is not None for layer in found)
    share = sum(layer.time_share or 0.0 for layer in found) if timed else _part(found, view)
    if not found or share < _NOTABLE_REFORMATS:
        return []
    kinds = ", ".join(sorted({layer.operator for layer in found}))
    # before the first layer there is only the normalisation of pixels, which is no mistake
    floats = [each for each in view.layers if each.computes_in in _FLOATS and each.layer]
    around = ", ".join(list(dict.fromkeys(map(_place, floats)))[:_NAMED_AT_MOST])
    return [
        Finding(
            Kind.REFORMATS,
            f"{len(found)} of {len(view.layers)} layers only convert or move values ({kinds}): "
            f"{100 * share:.0f} % {'of the time' if timed else 'of all layers'}."
            + (f" Floating-point layers in between: {around}." if around else ""),
            _ADVICE_REFORMATS,
        )
    ]


def describe(layer: EngineLayer) -> str:
    """An engine's layer by its name in the user's model, such as `layer1.0.conv1 (QLinearConv)`."""
    return f"{layer.layer or layer.name} ({layer.operator})"


def _place(layer: EngineLayer) -> str:
    return f"{layer.operator} at or after {layer.layer}"


def _part(found: list[EngineLayer], view: EngineView) -> float:
    return len(found) / max(len(view.layers), 1)
