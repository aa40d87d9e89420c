"""The report's section on training: a chart and a table for each model that was trained."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from tmkd_deploy.records.training import TrainingCurve, origin
from tmkd_deploy.report import charts, formatting
from tmkd_deploy.report.interface import RunReport
from tmkd_deploy.report.tables import Table

_TITLES = {
    "teacher": "Visual teacher",
    "distilled": "Distilled student",
    "baseline": "Baseline student",
}


@dataclass(frozen=True)
class Training:
    """One training: its chart is SVG text."""

    title: str
    choice: str
    chart: str
    epochs: Table


def trainings(curves: Mapping[str, TrainingCurve]) -> list[Training]:
    """The trainings in the order of the pipeline.

    Raises:
        MissingExtra: matplotlib is not installed.
    """
    return [
        Training(
            _TITLES[name], curve.choice, charts.training(curve, f"training-{name}"), epochs(curve)
        )
        for name, curve in curves.items()
    ]


def origins(report: RunReport) -> list[str]:
    """What teacher and students started from, in sentences; none where that was not recorded."""
    if report.teacher is None:
        return []
    found = {"visual teacher": report.teacher.weights, "students": report.student.weights}
    return [f"The {who} started from {origin(each)}." for who, each in found.items() if each]


def epochs(curve: TrainingCurve) -> Table:
    """Every epoch's figures; the epoch that was kept is marked."""
    return Table(
        "Training by epoch, on the validation split where it was evaluated.",
        ("Epoch", "Training loss", "Top-1", "Negative log-likelihood"),
        [
            (
                str(each.epoch),
                f"{each.loss:.4f}",
                formatting.NONE if each.top1 is None else formatting.percent(each.top1),
                formatting.NONE if each.nll is None else f"{each.nll:.4f}",
            )
            for each in curve.epochs
        ],
        numeric=frozenset({0, 1, 2, 3}),
        marked=[each.epoch for each in curve.epochs].index(curve.kept),
    )
