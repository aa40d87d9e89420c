"""The page's two plots: the named comparisons, and the gain against the teacher's lead."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.comparisons.statistics import Difference

FOREST, LEAD = "comparisons-forest.svg", "comparisons-lead.svg"


def write_plots(
    folder: Path,
    named: Mapping[str, Difference],
    by_set: Mapping[str, tuple[float, Difference]],
) -> None:
    """Write both plots as SVG.

    `named` are differences of top-1 by comparison, `by_set` the teacher's lead in points and the
    gain of `auto` over KD by data set.
    """
    import matplotlib  # noqa: PLC0415 - the rest of the benchmark does without
    from matplotlib.figure import Figure  # noqa: PLC0415

    # the same figures give the same bytes
    with matplotlib.rc_context({"svg.hashsalt": "comparisons", "svg.fonttype": "none"}):
        forest = Figure((7, 0.5 * len(named) + 1), layout="constrained")
        axes = forest.subplots()
        for place, found in enumerate(list(named.values())[::-1]):
            _with_interval(axes, found, place, horizontal=True)
        axes.set_yticks(range(len(named)), list(named)[::-1])
        axes.axvline(0, color="grey", linewidth=0.8)
        axes.set_xlabel("points of top-1")
        _save(forest, folder / FOREST)
        against = Figure((7, 4), layout="constrained")
        axes = against.subplots()
        for name, (lead, found) in by_set.items():
            _with_interval(axes, found, lead, horizontal=False)
            axes.annotate(name, (lead, 100 * found.mean), (6, 4), textcoords="offset points")
        axes.axhline(0, color="grey", linewidth=0.8)
        axes.set_xlabel("the teacher's lead over the baseline student, points")
        axes.set_ylabel("gain of auto over KD, points of top-1")
        _save(against, folder / LEAD)


def _with_interval(axes: Any, found: Difference, place: float, horizontal: bool) -> None:
    mean, low, high = (100 * each for each in (found.mean, found.low, found.high))
    if horizontal:
        axes.plot([low, high], [place, place], color="C0")
        axes.plot(mean, place, "o", color="C0")
    else:
        axes.plot([place, place], [low, high], color="C0")
        axes.plot(place, mean, "o", color="C0")


def _save(figure: Any, file: Path) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(file, format="svg", metadata={"Date": None})
