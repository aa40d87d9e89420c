"""The page: the protocol, then what was measured."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from benchmarks.comparisons.plots import FOREST, LEAD, write_plots
from benchmarks.comparisons.protocol import (
    BASES,
    COMPARISONS,
    LEAST_LEAD,
    ROWS,
    SETS,
    TRICK_SETS,
    TRICKS,
)
from benchmarks.comparisons.statistics import (
    BY_IMAGE,
    Answers,
    Difference,
    Metric,
    difference,
    drawn_differences,
    holm,
    over_sets,
    read,
)
from tmkd_deploy.artifacts import write_text

PROTOCOL = Path(__file__).with_name("protocol.md")
_UNITS: dict[Metric, tuple[str, float]] = {
    "top1": ("Top-1, points", 100.0),
    "macro_recall": ("Macro recall, points", 100.0),
    "nll": ("NLL, nats", 1.0),
}


def write_page(results: Path, page: Path) -> None:
    """Write the page from the results at hand."""
    found = {name: {row: read(results, name, row) for row in ROWS} for name in SETS}
    lines = [
        "# What each part of TMKD gives a student",
        "",
        "*Written by `python -m benchmarks.comparisons`; do not edit. Raw results: "
        "`benchmarks/results/comparisons/`.*",
        "",
        PROTOCOL.read_text(encoding="utf-8").strip(),
        "",
        "## Results",
        "",
    ]
    complete = [name for name, rows in found.items() if all(rows.values())]
    lines += [
        f"Complete so far: {len(complete)} of {len(SETS)} data sets"
        + (f" ({', '.join(SETS[name].title for name in complete)})." if complete else "."),
        "",
    ]
    for name in complete:
        rows = {row: answers for row, answers in found[name].items() if answers}
        lines += _of_set(name, rows)
    lines += [*_over_sets(found, page.parent), *_of_tricks(results)]
    write_text(page, "\n".join(lines).rstrip() + "\n")


def lead(rows: dict[str, Answers]) -> float:
    """Points of validation top-1 that the teacher of `auto` has over the baseline student."""
    teachers = [one["teacher_val_top1"] for split in rows["auto"].students for one in split]
    return 100 * (float(np.mean(teachers)) - rows["supervised"].mean("val_top1"))


def _of_set(name: str, rows: dict[str, Answers]) -> list[str]:
    ahead = lead(rows)
    apart = "" if ahead >= LEAST_LEAD else f" That is less than {LEAST_LEAD:g}: reported apart."
    lines = [
        f"### {SETS[name].title}",
        "",
        f"The fused teacher leads the baseline student by {_signed(ahead, 1)} points on validation "
        f"images.{apart}",
        "",
        "| Row | Top-1 | Macro recall | NLL | Calibration error | Against KD, points |",
        "|---|---:|---:|---:|---:|---:|",
    ]
    for row, answers in rows.items():
        against = "–" if row == "kd" else _shown(difference(answers, rows["kd"], "top1"), 100.0)
        lines.append(
            f"| {ROWS[row].title} | {100 * answers.mean('top1'):.1f} "
            f"| {100 * answers.mean('macro_recall'):.1f} | {answers.mean('nll'):.3f} "
            f"| {100 * answers.mean('calibration_error'):.1f} % | {against} |"
        )
    return [*lines, ""]


def _over_sets(found: dict[str, dict[str, Answers | None]], folder: Path) -> list[str]:
    """The named comparisons over the data sets that have them and meet the entry condition.

    Their plots are written to `folder`.
    """
    complete = {
        name: {row: answers for row, answers in rows.items() if answers}
        for name, rows in found.items()
        if all(rows.values())
    }
    entered = [rows for rows in complete.values() if lead(rows) >= LEAST_LEAD]
    if not entered:
        return []
    lines = [
        "### The named comparisons",
        "",
        f"Means over the {len(entered)} data sets that meet the entry condition; p-values of top-1 "
        "after Holm correction.",
        "",
        f"| Comparison | {' | '.join(title for title, _ in _UNITS.values())} | p |",
        "|---|---:|---:|---:|---:|",
    ]
    by_metric: dict[Metric, dict[str, Difference]] = {metric: {} for metric in BY_IMAGE}
    for comparison, (first, second) in COMPARISONS.items():
        for metric in BY_IMAGE:
            draws = [drawn_differences(rows[first], rows[second], metric) for rows in entered]
            means = [rows[first].mean(metric) - rows[second].mean(metric) for rows in entered]
            by_metric[metric][comparison] = over_sets(draws, means)
    adjusted = holm({name: each.p_value for name, each in by_metric["top1"].items()})
    for comparison in COMPARISONS:
        shown = [
            _shown(by_metric[metric][comparison], _UNITS[metric][1], 3 if metric == "nll" else 1)
            for metric in BY_IMAGE
        ]
        lines.append(f"| {comparison} | {' | '.join(shown)} | {adjusted[comparison]:.3f} |")
    by_set = {
        SETS[name].title: (lead(rows), difference(rows["auto"], rows["kd"], "top1"))
        for name, rows in complete.items()
    }
    write_plots(folder, by_metric["top1"], by_set)
    return [
        *lines,
        "",
        f"![The named comparisons with their intervals]({FOREST})",
        "",
        f"![The gain of auto over KD against the teacher's lead, by data set]({LEAD})",
        "",
    ]


def _of_tricks(results: Path) -> list[str]:
    """What else was tried, on the data sets that have all of it."""
    found = {
        name: {row: read(results, name, row) for row in (*TRICKS, *set(BASES.values()))}
        for name in TRICK_SETS
    }
    complete = {name: rows for name, rows in found.items() if all(rows.values())}
    if not complete:
        return []
    lines = [
        "### What else was tried",
        "",
        "Points of top-1 against the row with which each is compared.",
        "",
        f"| Row | Against | {' | '.join(SETS[name].title for name in complete)} |",
        f"|---|---|{'---:|' * len(complete)}",
    ]
    for row, base in BASES.items():
        pairs = [(rows[row], rows[base]) for rows in complete.values()]
        shown = [
            _shown(difference(ours, theirs, "top1"), 100.0)
            for ours, theirs in pairs
            if ours and theirs
        ]
        lines.append(f"| {TRICKS[row].title} | {ROWS[base].title} | {' | '.join(shown)} |")
    return lines


def _shown(found: Difference, factor: float, digits: int = 1) -> str:
    parts = (_signed(factor * each, digits) for each in (found.mean, found.low, found.high))
    mean, low, high = parts
    return f"{mean} ({low} to {high})"


def _signed(value: float, digits: int) -> str:
    return f"{value:+.{digits}f}".replace("-", "−")
