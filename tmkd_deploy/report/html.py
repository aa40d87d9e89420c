"""report.html: one page that needs neither a network nor scripts."""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from tmkd_deploy.errors import MissingExtra
from tmkd_deploy.records.types import VIEWS
from tmkd_deploy.report import charts, formatting, tables, timing_tables, view_weights
from tmkd_deploy.report.interface import RunReport, TargetReport, Views
from tmkd_deploy.report.tables import Table

LARGEST_SIDE = 160  # pixels; the page shows the views no larger


@dataclass(frozen=True)
class WeighedView:
    """One view of one image: `source` is a data URI, `weight` a share in [0, 1]."""

    name: str
    source: str
    weight: float
    strongest: bool


@dataclass(frozen=True)
class ShownImage:
    """One test image in all its views."""

    caption: str
    views: list[WeighedView]


@dataclass(frozen=True)
class TargetPage:
    """One target's tables and charts; a chart is SVG text, None where nothing was measured."""

    report: TargetReport
    summary: Table
    ledger: Table
    ledger_chart: str | None
    latency: Table | None
    ratios: Table | None
    latency_chart: str | None
    speed: Table | None
    conditions: Table | None
    engines: Table
    confusion_chart: str | None
    confusions: Table
    budgets: Table


class Html:
    """A self-contained page: styles, images and charts are all inside the one file."""

    file_name = "report.html"

    def render(self, report: RunReport) -> str:
        """The report as HTML.

        Raises:
            MissingExtra: jinja2 or matplotlib is not installed.
        """
        page: str = _template().render(
            report=report,
            targets=[_page(index, target) for index, target in enumerate(report.targets)],
            images=_shown_images(report.views) if report.views else [],
            weights_chart=charts.view_weights(report.view_weights, "weights"),
            tables=tables,
            view_weights=view_weights,
            formatting=formatting,
        )
        return page


def _template() -> Any:
    try:
        import jinja2  # noqa: PLC0415
    except ImportError as error:
        raise MissingExtra("The HTML report", "train", "jinja2") from error
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("tmkd_deploy.report"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("report.html.j2")


def _page(index: int, target: TargetReport) -> TargetPage:
    measured = target.measurements
    timed = measured.latency
    has_mistakes = any(map(any, measured.confusion))
    return TargetPage(
        report=target,
        summary=tables.summary(measured),
        ledger=tables.ledger(measured),
        ledger_chart=charts.ledger(measured, f"ledger-{index}"),
        latency=tables.latency(measured, timed) if timed else None,
        ratios=tables.ratios(measured, timed) if timed and timed.ratios else None,
        latency_chart=charts.latency(timed, measured.shipped, f"latency-{index}")
        if timed
        else None,
        speed=timing_tables.speed(measured, timed) if timed else None,
        conditions=timing_tables.conditions(timed.conditions)
        if timed and timed.conditions
        else None,
        engines=tables.engines(measured),
        confusion_chart=charts.confusion(measured, f"confusion-{index}") if has_mistakes else None,
        confusions=tables.confusions(measured),
        budgets=tables.budgets(target.verdict),
    )


def _shown_images(views: Views) -> list[ShownImage]:
    return [
        ShownImage(
            caption,
            [
                WeighedView(name, _data_uri(pixels), float(weight), bool(weight == max(weights)))
                for name, pixels, weight in zip(VIEWS, image, weights, strict=True)
            ],
        )
        for image, weights, caption in zip(views.images, views.weights, views.captions, strict=True)
    ]


def _data_uri(pixels: NDArray[np.uint8]) -> str:
    image = Image.fromarray(pixels)
    image.thumbnail((LARGEST_SIDE, LARGEST_SIDE))
    file = io.BytesIO()
    image.save(file, "PNG", optimize=True)
    return f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}"
