"""What the report says of the views' weights."""

from __future__ import annotations

import dataclasses

import pytest
from report_fixture import run_report, view_weights

from tmkd_deploy.records.fusion import Fusion
from tmkd_deploy.report.html import Html
from tmkd_deploy.report.json import summary
from tmkd_deploy.report.markdown import Markdown
from tmkd_deploy.report.tables import CLASSES_LISTED
from tmkd_deploy.report.view_weights import DECIDED, by_class

REPORT = run_report()


def guided_by(value: str):
    weights = REPORT.view_weights.model_copy(update={"guided_by": value})
    return dataclasses.replace(REPORT, view_weights=weights)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("label", "the labels guide the weights"),
        ("prediction", "its predictions guide the weights"),
        ("validation", "fitted on the validation split"),
        ("nothing", "All views count equally"),
    ],
)
def test_what_the_weights_are_guided_by_is_said_in_every_format(value, text) -> None:
    report = guided_by(value)
    assert text in Html().render(report)
    assert text in Markdown().render(report)
    assert summary(report)["view_weights"]["guided_by"] == value


def test_each_class_has_its_mean_weights() -> None:
    table = by_class(REPORT.view_weights)
    assert table.columns == ["Class", "rgb", "edge", "freq"]
    assert table.rows == [
        ["All classes", "44.0 %", "31.0 %", "25.0 %"],
        ["functional", "40.0 %", "33.0 %", "27.0 %"],
        ["defective", "45.0 %", "30.5 %", "24.5 %"],
    ]
    assert "| defective | 45.0 % | 30.5 % | 24.5 % |" in Markdown().render(REPORT)


def test_of_many_classes_those_that_differ_most_are_listed() -> None:
    names = [f"class {index}" for index in range(CLASSES_LISTED + 5)]
    weights = view_weights(names)
    table = by_class(weights)
    listed = [row[0] for row in table.rows[1:]]
    assert len(listed) == CLASSES_LISTED
    distance = {name: abs(weights.mean_by_class[name]["rgb"] - 0.44) for name in names}
    assert min(distance[name] for name in listed) >= max(
        distance[name] for name in names if name not in listed
    )
    assert "the other 5 are in summary.json" in table.caption


def test_a_student_of_one_view_has_one_strip() -> None:
    one = REPORT.view_weights.model_copy(
        update={
            "mean": {"rgb": 1.0},
            "mean_by_class": {"functional": {"rgb": 1.0}},
            "histogram": {"rgb": [0] * 19 + [2100]},
        }
    )
    page = Html().render(dataclasses.replace(REPORT, view_weights=one))
    assert "Histograms of the view weights" in page
    assert by_class(one).rows == [["All classes", "100.0 %"], ["functional", "100.0 %"]]


def test_every_decision_on_the_fused_teacher_is_one_line_of_every_format() -> None:
    lines = [
        "softness 0.35: NLL 0.512 → 0.402 on 315 held-out images",
        "view weights: even (0.402 → 0.401, within its standard error of 0.003)",
        "text share: 0 (precomputed text embeddings have no image tower, so no logits)",
    ]
    page, text = Html().render(REPORT), Markdown().render(REPORT)
    for line in lines:
        assert f"<li>{line}</li>" in page
        assert f"- {line}" in text
    assert summary(REPORT)["fusion"]["sentences"] == lines
    assert summary(REPORT)["fusion"]["softness"] == 0.35


@pytest.mark.parametrize("fusion", [None, Fusion()])
def test_a_run_that_decided_nothing_says_nothing_of_it(fusion) -> None:
    report = dataclasses.replace(REPORT, fusion=fusion)
    for text in (Html().render(report), Markdown().render(report)):
        assert text.count(DECIDED) == 0
