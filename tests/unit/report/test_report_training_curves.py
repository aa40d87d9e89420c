"""The report's section on training."""

import dataclasses
import json
from xml.etree import ElementTree

import pytest
from report_fixture import curve, run_report

from tmkd_deploy.records.training import Epoch, TrainingCurve
from tmkd_deploy.report import charts
from tmkd_deploy.report.html import Html
from tmkd_deploy.report.json import Json
from tmkd_deploy.report.training_curves import epochs, trainings

SVG = "{http://www.w3.org/2000/svg}"


def texts(svg):
    return [each.text.strip() for each in ElementTree.fromstring(svg).iter(f"{SVG}text")]


def test_each_training_has_a_chart_a_table_and_its_choice():
    report = run_report()
    teacher, distilled, baseline = trainings(report.curves)
    assert [teacher.title, distilled.title, baseline.title] == [
        "Visual teacher",
        "Distilled student",
        "Baseline student",
    ]
    page = Html().render(report)
    for each in (teacher, distilled, baseline):
        assert each.chart in page and each.choice in page
    assert distilled.choice == (
        "The weights of epoch 9 were kept, the best on validation images with a top-1 of 85.0 %; "
        "the last had 76.0 %: epoch 12 of 12."
    )
    assert baseline.choice == "The weights of the last epoch were kept: epoch 12 of 12."


def test_the_page_says_what_the_models_started_from():
    report = run_report()
    page = Html().render(
        dataclasses.replace(
            report,
            teacher=dataclasses.replace(report.teacher, weights="package:efficientnet-lite0"),
            student=dataclasses.replace(report.student, weights="none"),
        )
    )
    assert "The visual teacher started from the pretrained weights of package:effic" in page
    assert "The students started from random weights." in page
    assert "started from" not in Html().render(report), "an older run did not record it"


def test_a_run_without_curves_has_no_such_section():
    page = Html().render(dataclasses.replace(run_report(), curves={}))
    assert 'id="training"' not in page


def test_the_table_marks_the_kept_epoch_and_shows_gaps():
    table = epochs(curve(6, kept=4, every=2))
    assert table.marked == 3
    assert table.rows[3] == ("4", "0.5000", "85.0 %", "0.1500")
    assert table.rows[4][2:] == ("–", "–")


@pytest.mark.usefixtures("drawn")
@pytest.mark.parametrize("count", [1, 2, 30])
def test_the_chart_names_its_axes(count):
    shown = texts(charts.training(curve(count), "chart"))
    assert "epoch" in shown and "training loss" in shown
    assert "top-1 on validation images (%)" in shown
    labels = [text for text in shown if text.isdigit() and int(text) <= count]
    assert labels, "an epoch is labelled"


@pytest.mark.usefixtures("drawn")
def test_a_training_without_a_finite_likelihood_is_drawn():
    points = [Epoch(epoch=1, loss=1.0, top1=0.0)]
    curve = TrainingCurve(epochs=points, planned=1, best=1, kept=1)
    assert "training loss" in texts(charts.training(curve, "chart"))


def test_the_summary_holds_every_epoch():
    found = json.loads(Json().render(run_report()))["training"]
    assert list(found) == ["teacher", "distilled", "baseline"]
    assert found["distilled"]["kept"] == 9
    assert found["distilled"]["epochs"][8] == {
        "epoch": 9,
        "loss": pytest.approx(2 / 9),
        "top1": 0.85,
        "nll": pytest.approx(0.15),
    }
    assert found["baseline"]["choice"].startswith("The weights of the last epoch")


def test_a_curve_keeps_an_epoch_that_was_evaluated():
    with pytest.raises(ValueError, match="no evaluated epochs"):
        TrainingCurve(epochs=[Epoch(epoch=1, loss=1.0)], planned=1, best=1, kept=1)
