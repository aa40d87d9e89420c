"""Charts as SVG text for inlining into HTML; the same values give the same bytes."""

from __future__ import annotations

import contextlib
import io
import re
import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np

from tmkd_deploy.errors import MissingExtra
from tmkd_deploy.printable import printable
from tmkd_deploy.records.distillation import ViewWeights
from tmkd_deploy.records.latency import Latency
from tmkd_deploy.records.measurements import Measurements
from tmkd_deploy.records.training import TrainingCurve
from tmkd_deploy.records.verdict import GateRecord
from tmkd_deploy.report import metrics

INK = "#1d2433"
SOFT = "#5b6475"
SHIPPED = "#1f5fbf"
OTHER = "#8792a6"
CLASSES_WITH_NAMES = 12
LONGEST_NAME = 18
LETTERS_SIDE_BY_SIDE = 26

_STYLE = {
    "svg.hashsalt": "tmkd-deploy",
    "svg.fonttype": "none",  # the browser's fonts cover more scripts than matplotlib's
    "text.parse_math": False,  # a dollar sign in a class name is a dollar sign
    "font.size": 9,
    "axes.edgecolor": SOFT,
    "axes.labelcolor": SOFT,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "text.color": INK,
    "xtick.color": SOFT,
    "ytick.color": SOFT,
}


def ledger(measured: Measurements, name: str) -> str | None:
    """Each step's change in points with its interval; None if there are no steps.

    A filled dot marks a significant change (p below 0.05), a hollow dot any other. `name` prefixes
    the SVG's ids, which must be unique on a page.

    Raises:
        MissingExtra: matplotlib is not installed.
    """
    steps = [
        (
            f"{row.label}\nagainst {metrics.compared_label(measured, row)}",
            row.change_points,
            row.change_interval,
            row.significant,
        )
        for row in measured.ledger
        if row.compared_with and row.change_points is not None and row.change_interval
    ]
    if not steps:
        return None
    with _matplotlib() as matplotlib:
        figure = matplotlib.figure.Figure(
            figsize=(3.9, 0.55 + 0.36 * len(steps)), layout="constrained"
        )
        axes = figure.subplots()
        for position, (_, change, (low, high), significant) in enumerate(steps):
            fill = SHIPPED if significant else "white"
            axes.plot([low, high], [position, position], color=SHIPPED, linewidth=1.5)
            axes.plot([change], [position], "o", color=SHIPPED, markerfacecolor=fill, markersize=5)
        axes.axvline(0, color=SOFT, linewidth=0.8, zorder=0)
        axes.set_yticks(range(len(steps)), [step[0] for step in steps])
        axes.tick_params(axis="y", length=0, labelcolor=INK)
        axes.invert_yaxis()
        axes.locator_params(axis="x", nbins=6)
        axes.spines["left"].set_visible(False)
        axes.set_xlabel("change in top-1 (points)")
        return _svg(figure, name)


def latency(timed: Latency, shipped: str, name: str) -> str:
    """Latency histograms, one strip per engine on a common axis.

    A solid line marks each median, a dashed line each p99. The axis is logarithmic if medians
    differ by more than a factor of four, and ends just past the largest p99. `name` prefixes the
    SVG's ids, which must be unique on a page.

    Raises:
        MissingExtra: matplotlib is not installed.
    """
    with _matplotlib() as matplotlib:
        figure = matplotlib.figure.Figure(
            figsize=(3.7, 0.5 + 0.66 * len(timed.rows)), layout="constrained"
        )
        strips = figure.subplots(len(timed.rows), 1, sharex=True, squeeze=False)[:, 0]
        for row, axes in zip(timed.rows, strips, strict=True):
            ships = row.engine == shipped
            axes.stairs(
                row.histogram_counts,
                row.histogram_edges_ms,
                fill=True,
                color=SHIPPED if ships else OTHER,
                alpha=0.6,
            )
            axes.axvline(row.p50_ms, color=INK, linewidth=1.0)
            axes.axvline(row.p99_ms, color=INK, linewidth=1.0, linestyle=(0, (3, 2)))
            weight = "bold" if ships else "normal"
            axes.set_title(row.label, loc="left", fontsize=9, pad=3, fontweight=weight)
            axes.set_yticks([])
            axes.spines["left"].set_visible(False)
        medians = [row.p50_ms for row in timed.rows]
        if max(medians) > 4 * min(medians):
            axes.set_xscale("log")
            axes.xaxis.set_major_locator(matplotlib.ticker.LogLocator(subs=(1, 2, 5)))
            axes.xaxis.set_major_formatter("{x:g}")
            axes.xaxis.set_minor_formatter("")
        first_edge = min(row.histogram_edges_ms[0] for row in timed.rows)
        largest_p99 = max(row.p99_ms for row in timed.rows)
        # a logarithmic axis cannot show an edge at zero
        axes.set_xlim(max(first_edge, 0.5 * min(medians)), 1.05 * largest_p99)
        axes.set_xlabel("milliseconds")
        return _svg(figure, name)


def confusion(gate: GateRecord, name: str) -> str:
    """The confusion matrix of the shipped engine, shaded by share of the true class.

    Class names and counts are shown as long as they are legible. `name` prefixes the SVG's ids,
    which must be unique on a page.

    Raises:
        MissingExtra: matplotlib is not installed.
    """
    counts = np.asarray(gate.confusion)
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    classes = len(counts)
    with _matplotlib() as matplotlib:
        figure = matplotlib.figure.Figure(figsize=(3.7, 3.1), layout="constrained")
        axes = figure.subplots()
        axes.imshow(shares, cmap="Blues", vmin=0, vmax=1, interpolation="none")
        axes.spines[:].set_visible(False)
        axes.tick_params(length=0)
        axes.set_xticks([])
        axes.set_yticks([])
        if classes <= CLASSES_WITH_NAMES:
            shown = [_shortened(class_name) for class_name in gate.measurements.class_names]
            fits = sum(map(len, shown)) <= LETTERS_SIDE_BY_SIDE
            axes.set_xticks(range(classes), shown, rotation=0 if fits else 90)
            axes.set_yticks(range(classes), shown)
            for (true, predicted), count in np.ndenumerate(counts):
                colour = "white" if shares[true, predicted] > 0.5 else INK
                axes.text(predicted, true, str(count), ha="center", va="center", color=colour)
        axes.set_xlabel("predicted class")
        axes.set_ylabel("true class")
        return _svg(figure, name)


def view_weights(weights: ViewWeights, name: str) -> str:
    """Histograms of the views' weights over the training images, one strip per view.

    A solid line marks each mean. `name` prefixes the SVG's ids, which must be unique on a page.

    Raises:
        MissingExtra: matplotlib is not installed.
    """
    with _matplotlib() as matplotlib:
        rows = len(weights.histogram)
        figure = matplotlib.figure.Figure(figsize=(3.7, 0.5 + 0.66 * rows), layout="constrained")
        strips = figure.subplots(rows, 1, sharex=True, squeeze=False)[:, 0]
        for (view, counts), axes in zip(weights.histogram.items(), strips, strict=True):
            edges = np.linspace(0, 1, len(counts) + 1)
            axes.stairs(counts, edges, fill=True, color=SHIPPED, alpha=0.6)
            axes.axvline(weights.mean[view], color=INK, linewidth=1.0)
            axes.set_title(view, loc="left", fontsize=9, pad=3)
            axes.set_yticks([])
            axes.spines["left"].set_visible(False)
        axes.set_xlim(0, 1)
        axes.set_xlabel("view weight")
        return _svg(figure, name)


def training(curve: TrainingCurve, name: str) -> str:
    """Top-1 and losses by epoch; a dashed line marks the epoch whose weights were kept.

    `name` prefixes the SVG's ids, which must be unique on a page.

    Raises:
        MissingExtra: matplotlib is not installed.
    """
    top1 = [(each.epoch, 100 * each.top1) for each in curve.epochs if each.top1 is not None]
    nll = [(each.epoch, each.nll) for each in curve.epochs if each.nll is not None]
    loss = [(each.epoch, each.loss) for each in curve.epochs]
    strips = (
        ("top-1 on validation images (%)", top1),
        ("negative log-likelihood on validation images", nll),
        ("training loss", loss),
    )
    with _matplotlib() as matplotlib:
        figure = matplotlib.figure.Figure(figsize=(3.7, 3.6), layout="constrained")
        for (title, points), axes in zip(
            strips, figure.subplots(len(strips), 1, sharex=True), strict=True
        ):
            epochs, values = zip(*points, strict=True) if points else ((), ())
            marker = "o" if len(points) < 2 else ""  # a single point has no line
            axes.plot(epochs, values, color=SHIPPED, linewidth=1.2, marker=marker, markersize=4)
            axes.axvline(curve.kept, color=INK, linewidth=0.8, linestyle=(0, (3, 2)))
            axes.set_title(title, loc="left", fontsize=9, pad=3)
            axes.locator_params(axis="y", nbins=4)
        axes.set_xlim(0.5, len(curve.epochs) + 0.5)
        axes.xaxis.set_major_locator(matplotlib.ticker.MaxNLocator(6, integer=True, min_n_ticks=1))
        axes.set_xlabel("epoch")
        return _svg(figure, name)


@contextlib.contextmanager
def _matplotlib() -> Iterator[Any]:
    try:
        import matplotlib.figure  # noqa: PLC0415
        import matplotlib.ticker  # noqa: PLC0415
    except ImportError as error:
        raise MissingExtra("The HTML report", "train", "matplotlib") from error
    with matplotlib.rc_context(_STYLE), warnings.catch_warnings():
        # matplotlib warns about glyphs that its own font lacks; the browser draws the text
        warnings.filterwarnings("ignore", message="Glyph")
        yield matplotlib


def _svg(figure: Any, name: str) -> str:
    file = io.StringIO()
    no_metadata = dict.fromkeys(("Date", "Creator", "Format", "Type"))
    figure.savefig(file, format="svg", transparent=True, metadata=no_metadata)
    text = file.getvalue()
    svg = text[text.index("<svg") :]
    svg = re.sub(r'(<\w[^<>]* id=")', rf"\g<1>{name}-", svg)
    return re.sub(r'(url\(#|href="#)', rf"\g<1>{name}-", svg)


def _shortened(name: str) -> str:
    return printable(name, LONGEST_NAME)
