"""Explanations of engines as text for people."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import RenderableType
from rich.text import Text

from tmkd_deploy.cli import render
from tmkd_deploy.explain.interface import EngineView, Explanation, Finding
from tmkd_deploy.report import formatting
from tmkd_deploy.report.tables import Table

_TYPES = {
    "int8": "INT8",
    "bf16": "BF16",
    "fp16": "FP16",
    "fp32": "FP32",
    "pointwise": "Combined pointwise kernels",
    "reformat": "Conversions and copies",
}
_LISTED_AT_MOST = 6


def as_text(explanations: Sequence[Explanation]) -> str:
    """One block per target, each with the command to run next."""
    blocks: list[RenderableType] = []
    for each in explanations:
        heading = f"{each.target}: the {each.precision.upper()} engine of {each.runtime}"
        blocks += [Text(heading if not blocks else f"\n{heading}", style="bold")]
        if each.engine:
            blocks += _engine(each, each.engine)
        blocks += [Text("\nWhy is it slow?", style="bold")]
        blocks += _findings(each.speed) or ["No cause was found."]
        blocks += [Text("\nWhy did it lose accuracy?", style="bold")]
        blocks += _findings(each.accuracy)
        blocks += each.notes
        blocks += [f"\nNext: {each.next}"]
    return render.as_text(blocks)


def _engine(explanation: Explanation, view: EngineView) -> list[RenderableType]:
    shares = Table(
        "",
        ["Computes in", "Layers", "Share of layers", "Share of time"],
        [
            [
                _TYPES[each.computes_in],
                str(each.layers),
                formatting.percent(each.share_of_layers),
                formatting.NONE
                if each.share_of_time is None
                else formatting.percent(each.share_of_time),
            ]
            for each in explanation.shares
        ],
        numeric=frozenset({1, 2, 3}),
    )
    blocks: list[RenderableType] = [f"By {view.source}:", "", render.grid(shares)]
    if view.untimed:
        blocks += ["", view.untimed]
    if explanation.slowest:
        slowest = Table(
            "",
            ["Slowest layers", "Operator", "Computes in", "Share of time"],
            [
                [
                    layer.layer or layer.name,
                    layer.operator,
                    _TYPES[layer.computes_in],
                    formatting.percent(layer.time_share or 0.0),
                ]
                for layer in explanation.slowest
            ],
            numeric=frozenset({3}),
        )
        blocks += ["", render.grid(slowest)]
    return blocks


def _findings(findings: Sequence[Finding]) -> list[RenderableType]:
    """Findings, grouped by advice."""
    by_advice: dict[str, list[Finding]] = {}
    for each in findings:
        by_advice.setdefault(each.advice, []).append(each)
    blocks: list[RenderableType] = []
    for advice, together in by_advice.items():
        blocks += [f"- {each.problem}" for each in together[:_LISTED_AT_MOST]]
        if len(together) > _LISTED_AT_MOST:
            rest = together[_LISTED_AT_MOST:]
            names = ", ".join(dict.fromkeys(each.layer or "the input" for each in rest))
            blocks += [f"- The same applies to {names}."]
        blocks += [f"  Advice: {advice}"]
    return blocks
