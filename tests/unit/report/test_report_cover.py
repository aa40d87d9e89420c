"""The first lines of a report: one verdict over all targets, and what it means in use."""

from __future__ import annotations

import dataclasses
from typing import Any
from xml.etree import ElementTree

import pytest
from report_fixture import cpu_gate, cpu_measurements, cpu_target, rtx_target, run_report

from tmkd_deploy.gate.evaluate import evaluate
from tmkd_deploy.recipe.schema import Budgets
from tmkd_deploy.records.verdict import GateRecord, Outcome, worst
from tmkd_deploy.report import formatting
from tmkd_deploy.report.cover import CLASSES_TOLD, cover
from tmkd_deploy.report.html import Html
from tmkd_deploy.report.interface import TargetReport
from tmkd_deploy.report.json import Json, summary
from tmkd_deploy.report.junit import Junit
from tmkd_deploy.report.markdown import Markdown


def not_judged() -> TargetReport:
    """An engine within its budget on size that nobody ran."""
    target = rtx_target()
    verdict = evaluate(Budgets(engine_size_mb=5.0), target.gate.measurements, "int8")
    return dataclasses.replace(target, gate=target.gate.model_copy(update={"verdict": verdict}))


def with_confusion(confusion: list[list[int]], names: list[str], **gate: Any) -> GateRecord:
    measured = cpu_measurements().model_copy(
        update={
            "class_names": names,
            "test_images": sum(map(sum, confusion)),
            "confusion_by_engine": {"int8": confusion},
        }
    )
    return cpu_gate(measured).model_copy(update=gate)


# the cover


def test_the_cover_says_how_many_of_a_hundred_go_out_wrong() -> None:
    gate = with_confusion([[1200, 145], [262, 361]], ["functional", "defective"])
    assert cover(gate) == [
        'Of 100 "defective" images, 42 (38 to 46) are taken for "functional" (measured on 623).',
        'Of 100 "functional" images, 11 (9 to 13) are taken for "defective" (measured on 1,345).',
        "Each image goes to the class with the higher score: the threshold is 0.5.",
    ]


def test_of_a_class_that_must_not_be_missed_alone_is_told_with_its_threshold() -> None:
    gate = with_confusion(
        [[1200, 145], [2, 621]],
        ["functional", "defective"],
        threshold=0.125,
        guarded_class="defective",
    )
    assert cover(gate) == [
        'Of 1,000 "defective" images, 3 (1 to 12) are taken for "functional" (measured on 623).',
        'Of 100 "functional" images, 11 (9 to 13) are taken for "defective" (measured on 1,345).',
        'An image counts as "defective" from a score of 0.12 upwards, a threshold chosen on '
        "validation images.",
    ]


def test_of_many_classes_the_worst_are_told() -> None:
    count = CLASSES_TOLD + 3
    confusion = [[0] * count for _ in range(count)]
    for label in range(count):
        confusion[label][label] = 40 + label
        confusion[label][(label + 1) % count] += 20 - label
    told = cover(with_confusion(confusion, [f"c{label}" for label in range(count)]))
    assert told[0].startswith('Of 100 "c0" images, 33 (23 to 46) are taken for another class')
    assert 'always for "c1"' in told[0]
    assert len(told) == CLASSES_TOLD + 2
    assert told[-2] == "The other 3 classes are recognized more often."


def test_nothing_is_told_of_an_engine_that_nobody_ran() -> None:
    measured = rtx_target().gate.measurements
    # as the measure stage records it: from evaluating the ONNX file
    from_onnx = {"int8": [[331, 37], [53, 103]]}
    gate = rtx_target().gate.model_copy(
        update={"measurements": measured.model_copy(update={"confusion_by_engine": from_onnx})}
    )
    assert gate.confusion == []
    assert cover(gate) == ["Nobody has run this engine, so nothing is known of its mistakes."]


@pytest.mark.parametrize("file_format", [Markdown(), Html(), Json()])
def test_verdict_and_cover_come_before_everything_else(file_format: Any) -> None:
    text = file_format.render(run_report(cpu_target(), not_judged()))
    verdict = text.index("passed: 1 passed (cpu), 1 not judged (rtx-ada).")
    if isinstance(file_format, Json):
        assert verdict < text.index('"data"')
        told = summary(run_report(cpu_target()))["targets"]["cpu"]["cover"]
        assert told == cover(cpu_target().gate)
        return
    mistakes = text.index("34 (27 to 42) are taken for")
    assert verdict < mistakes < text.index("1,785 training")


# one verdict over all targets


@pytest.mark.parametrize(
    ("outcomes", "expected", "code"),
    [
        ([], Outcome.NOT_JUDGED, 3),
        ([Outcome.NOT_JUDGED], Outcome.NOT_JUDGED, 3),
        ([Outcome.NOT_JUDGED, Outcome.PASSED], Outcome.PASSED, 0),
        ([Outcome.INCONCLUSIVE, Outcome.PASSED], Outcome.INCONCLUSIVE, 3),
        ([Outcome.NOT_JUDGED, Outcome.INCONCLUSIVE, Outcome.FAILED], Outcome.FAILED, 1),
    ],
)
def test_what_was_not_judged_counts_only_where_nothing_was(
    outcomes: list[Outcome], expected: Outcome, code: int
) -> None:
    assert worst(outcomes) is expected
    assert worst(outcomes).exit_code == code


def test_a_target_that_was_not_judged_is_skipped_in_junit_and_grey_in_html() -> None:
    report = run_report(not_judged())
    root = ElementTree.fromstring(Junit().render(report))
    (suite,) = root
    assert [(case.get("name"), [each.tag for each in case]) for case in suite.iter("testcase")] == [
        ("engine_size_mb", []),
        ("verdict", ["skipped"]),
    ]
    skipped = suite.find(".//skipped")
    assert skipped is not None and "Nobody has run the INT8 engine." in skipped.get("message", "")
    assert [root.get(name) for name in ("tests", "failures", "skipped")] == ["2", "0", "1"]
    found = {each.get("name"): each.get("value") for each in suite.iter("property")}
    assert found["outcome"] == found["overall_outcome"] == "not_judged"
    page = Html().render(report)
    assert '<article class="verdict not_judged">' in page
    assert "✓ passed</p>" not in page
    assert summary(report)["outcome"] == "not_judged"


@pytest.mark.parametrize("file_format", [Markdown(), Html(), Json(), Junit()])
def test_a_failed_gate_is_never_followed_by_an_engine_that_ships(file_format: Any) -> None:
    failed = dataclasses.replace(cpu_target(accuracy=0.99), bundle_file=None, bundle_bytes=None)
    text = file_format.render(run_report(failed))
    assert "engine ships" not in text and "Shipped engine, INT8" not in text
    if isinstance(file_format, Markdown | Html):
        assert "The INT8 engine does not ship." in text


def test_the_summary_of_a_failed_gate_says_what_would_have_shipped() -> None:
    found = summary(run_report(cpu_target(accuracy=0.99)))["targets"]["cpu"]
    assert found["shipped"] is None
    assert found["would_ship"]["engine"] == "int8"


@pytest.mark.parametrize(
    ("budgets", "told"),
    [
        ({"accuracy": 0.99}, "is bundled although its gate failed"),
        ({"accuracy": 0.83}, "is bundled, and marked as inconclusive"),
        ({"accuracy": 0.7}, "The INT8 engine ships."),
    ],
)
def test_a_bundle_is_told_with_its_reservation(budgets: dict[str, float], told: str) -> None:
    assert told in formatting.ships(cpu_target(**budgets))


# verdicts of earlier runs


def test_an_earlier_verdict_has_its_date_and_still_counts() -> None:
    earlier = dataclasses.replace(cpu_target(accuracy=0.99), judged="2026-11-30T14:02:00+00:00")
    report = run_report(not_judged(), earlier)
    assert report.outcome is Outcome.FAILED
    for file_format in (Markdown(), Html()):
        text = file_format.render(report)
        assert "This verdict is of 2026-11-30 14:02:00 UTC, from an earlier run." in text


def test_what_passed_with_an_older_model_is_not_judged() -> None:
    stale = dataclasses.replace(cpu_target(), judged="2026-11-30T14:02:00+00:00", is_stale=True)
    report = run_report(stale)
    assert report.outcome is Outcome.NOT_JUDGED
    assert "the verdict is of an older one" in Markdown().render(report)
    assert "✓ passed" not in Markdown().render(report).split("### Budgets")[0]


# figures


@pytest.mark.parametrize(
    ("value", "unit", "interval", "text"),
    [
        (1.0, "points", None, "1 point"),
        (2.0, "points", None, "2 points"),
        (-2.29, "points", (-3.86, 0.714), "gain 2.29 (gain 3.86 to loss 0.71)"),
        (2.7, "points", (1.2, 4.2), "2.7 points (1.2 to 4.2)"),
        (0.8, "", None, "0.8"),
    ],
)
def test_quantities_read_as_one_says_them(
    value: float, unit: str, interval: tuple[float, float] | None, text: str
) -> None:
    assert formatting.quantity(value, unit, interval) == text


def test_images_per_second_are_written_out() -> None:
    assert formatting.rate(16_784.2) == "16,784 images/s"
    assert formatting.rate(93.256) == "93.26 images/s"
