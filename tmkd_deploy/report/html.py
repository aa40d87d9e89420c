"""report.html: one self-contained page without scripts."""

from __future__ import annotations

from dataclasses import dataclass

from tmkd_deploy.printable import printable
from tmkd_deploy.records.types import VIEWS
from tmkd_deploy.report import charts, formatting, tables, timing_tables, view_weights
from tmkd_deploy.report.cover import cover
from tmkd_deploy.report.interface import RunReport, TargetReport, ViewGallery
from tmkd_deploy.report.page import data_uri, template
from tmkd_deploy.report.tables import Table
from tmkd_deploy.report.training_curves import origins, trainings


@dataclass(frozen=True)
class ViewThumbnail:
    """One view of one image: `source` is a data URI, `weight` lies in [0, 1]."""

    name: str
    source: str
    weight: float
    strongest: bool


@dataclass(frozen=True)
class GalleryImage:
    """One validation image in all its views."""

    caption: str
    views: list[ViewThumbnail]


@dataclass(frozen=True)
class TargetSection:
    """One target's tables and charts; charts are SVG text, None if there is nothing to show."""

    report: TargetReport
    cover: list[str]
    summary: Table
    ledger: Table
    ledger_chart: str | None
    agreement: Table
    latency: Table | None
    ratios: Table | None
    latency_chart: str | None
    frame: Table | None
    speed: Table | None
    conditions: Table | None
    engines: Table
    confusion_chart: str | None
    confusions: Table
    budgets: Table


class Html:
    """A self-contained page with inlined styles, images and charts."""

    file_name = "report.html"

    def render(self, report: RunReport) -> str:
        """The report as HTML.

        Raises:
            MissingExtra: jinja2 or matplotlib is not installed.
        """
        page: str = template("report.html.j2").render(
            report=report,
            targets=[_section(index, target) for index, target in enumerate(report.targets)],
            images=_gallery(report.views) if report.views else [],
            trainings=trainings(report.curves),
            origins=origins(report),
            weights_chart=charts.view_weights(report.view_weights, "weights")
            if report.view_weights
            else None,
            tables=tables,
            view_weights=view_weights,
            formatting=formatting,
        )
        return printable(page, newlines=True)  # an escape holds nothing that HTML would read


def _section(index: int, target: TargetReport) -> TargetSection:
    gate = target.gate
    measured, shipped = gate.measurements, gate.would_ship
    timed = measured.latency
    has_confusion = any(map(any, gate.confusion))
    return TargetSection(
        report=target,
        cover=cover(gate),
        summary=tables.summary(gate),
        ledger=tables.ledger(measured, shipped),
        ledger_chart=charts.ledger(measured, f"ledger-{index}"),
        agreement=tables.agreement(measured, shipped),
        latency=tables.latency(timed, shipped) if timed else None,
        ratios=tables.ratios(timed) if timed and timed.ratios else None,
        latency_chart=charts.latency(timed, shipped, f"latency-{index}") if timed else None,
        frame=timing_tables.frame(timed, shipped) if timed else None,
        speed=timing_tables.speed(timed, shipped) if timed else None,
        conditions=timing_tables.conditions(timed.conditions)
        if timed and timed.conditions
        else None,
        engines=tables.engines(measured, shipped),
        confusion_chart=charts.confusion(gate, f"confusion-{index}") if has_confusion else None,
        confusions=tables.confusions(gate),
        budgets=tables.budgets(gate.verdict),
    )


def _gallery(views: ViewGallery) -> list[GalleryImage]:
    return [
        GalleryImage(
            caption,
            [
                ViewThumbnail(name, data_uri(pixels), float(weight), bool(weight == max(weights)))
                for name, pixels, weight in zip(VIEWS, image, weights, strict=True)
            ],
        )
        for image, weights, caption in zip(views.images, views.weights, views.captions, strict=True)
    ]
