"""The formats of the light installation: markdown, JUnit and JSON, and how files are written."""

from __future__ import annotations

import dataclasses
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st
from report_fixture import (
    NOT_MEASURED,
    cpu_gate,
    cpu_measurements,
    cpu_target,
    engine_file,
    ledger,
    rtx_target,
    run_report,
    with_measurements,
)

from tmkd_deploy.errors import EnvironmentProblem, MissingExtra
from tmkd_deploy.printable import printable
from tmkd_deploy.records.measurements import Measurements
from tmkd_deploy.records.verdict import Check, Outcome, Verdict
from tmkd_deploy.report import tables
from tmkd_deploy.report.html import Html
from tmkd_deploy.report.interface import RunReport, TargetReport, write
from tmkd_deploy.report.json import Json, summary
from tmkd_deploy.report.junit import Junit
from tmkd_deploy.report.markdown import Markdown, escape, table
from tmkd_deploy.report.tables import Table

REPORT = run_report()


def target_with(*outcomes: Outcome, explanation: str = "It is so.") -> TargetReport:
    checks = [
        Check(
            budget=f"budget_{index}",
            limit=1.0,
            measured=2.0,
            interval=None,
            unit="ms",
            outcome=outcome,
            explanation=explanation,
        )
        for index, outcome in enumerate(outcomes)
    ]
    worst = min(outcomes, key=[Outcome.FAILED, Outcome.INCONCLUSIVE, Outcome.PASSED].index)
    verdict = Verdict(target="cpu", outcome=worst, checks=checks)
    target = cpu_target()
    return dataclasses.replace(target, gate=target.gate.model_copy(update={"verdict": verdict}))


# markdown


def unescaped_pipes(line: str) -> int:
    return len(re.findall(r"(?<!\\)(?:\\\\)*\|", line))


@given(st.text())
def test_any_text_stays_in_its_markdown_cell(text: str) -> None:
    lines = table(Table("Caption.", ["a", "b"], [[text, "x"], ["y", text]])).splitlines()
    assert [unescaped_pipes(line) for line in lines[2:]] == [3, 3, 3, 3]


@pytest.mark.parametrize(
    ("text", "escaped"),
    [
        ("<script>", r"\<script\>"),
        ("a*b_c_", r"a\*b_c\_"),
        ("resnet18_d", "resnet18_d"),
        ("[x](y)", r"\[x\](y)"),
        ("two\nlines", "two lines"),
    ],
)
def test_markdown_of_the_data_is_not_interpreted(text: str, escaped: str) -> None:
    assert escape(text) == escaped


def test_markdown_tells_verdict_summary_and_what_was_not_measured() -> None:
    text = Markdown().render(run_report())
    assert text.startswith("# quickstart: ? inconclusive\n")
    assert "## cpu: ✓ passed" in text
    assert "| **Shipped engine, INT8** | 82.8 % (79.5 to 85.8) | 317,000 | 1.19 ms" in text
    assert f"Latency was not measured. {NOT_MEASURED}" in text
    assert "non-commercial" in text


# tables


@pytest.mark.parametrize(
    ("drawn", "group_by", "told"),
    [
        ([], None, "The data define all three splits."),
        (["val"], None, "The validation split was held out with seed 7."),
        (["val", "test"], None, "The validation and test splits were held out with seed 7."),
        (["val"], "folder", "held out with seed 7, whole groups at a time (by folder)."),
    ],
)
def test_markdown_and_json_say_what_each_split_is_for(
    drawn: list[str], group_by: str | None, told: str
) -> None:
    given = run_report()
    data = dataclasses.replace(given.data, drawn_splits=drawn, split_seed=7, group_by=group_by)
    report = dataclasses.replace(given, data=data)
    text = Markdown().render(report)
    assert "1,785 training, 315 validation and 524 test images." in text
    assert "Chosen on validation, judged on test" in text
    assert told in text
    written = summary(report)["data"]
    assert [written[f"{split}_images"] for split in ("train", "val", "test")] == [1785, 315, 524]
    assert (written["split_seed"], written["group_by"]) == (7, group_by)
    assert told in written["split_note"]


def test_the_split_note_says_which_fold_the_test_split_is() -> None:
    given = run_report()
    report = dataclasses.replace(given, data=dataclasses.replace(given.data, fold=(2, 5)))
    told = "splits were held out with seed 0; the test split is fold 2 of 5."
    assert told in Markdown().render(report) and told in Html().render(report)
    assert summary(report)["data"]["fold"] == (2, 5)


def test_the_summary_compares_teacher_both_students_and_what_ships() -> None:
    content = tables.summary(cpu_gate())
    assert [row[0] for row in content.rows] == [
        "Teacher",
        "Baseline student",
        "Distilled student",
        "Shipped engine, INT8",
    ]
    assert content.marked == 3
    sizes = [row[4] for row in content.rows]
    assert sizes == ["–", "1.27 MB", "1.27 MB", "0.34 MB"]


def test_a_baseline_student_that_was_not_trained_has_no_row() -> None:
    rows = [row for row in ledger() if row.representation != "student_baseline"]
    measured = cpu_measurements().model_copy(update={"ledger": rows})
    assert [row[0] for row in tables.summary(cpu_gate(measured)).rows] == [
        "Teacher",
        "Distilled student",
        "Shipped engine, INT8",
    ]


def test_the_ledger_concludes_from_each_steps_p_value() -> None:
    content = tables.ledger(cpu_measurements())
    p, conclusion = content.columns.index("p"), content.columns.index("Conclusion")
    read = {row[0]: (row[p], row[conclusion]) for row in content.rows}
    assert read["Teacher"] == ("–", "–")
    assert read["Baseline student"] == ("< 0.001", "significant loss")
    assert read["Distilled student"] == ("0.021", "significant loss")
    assert read["Fake-quantized student"] == ("0.80", "not significant")
    changes = {row[0]: (row[2], row[3]) for row in content.rows}
    assert changes["INT8 engine"] == ("−0.2 (−0.6 to +0.2)", "ONNX, INT8")


def test_agreement_and_calibration_stand_beside_each_representation() -> None:
    rows = {row[0]: row[1:] for row in tables.agreement(cpu_measurements()).rows}
    assert rows["Teacher"] == ["83.2 %", "100.0 %", "–", "3.4 %", "–"]
    assert rows["INT8 engine"] == ["80.7 %", "91.2 %", "98.0 %", "4.1 %", "+0.7"]


def test_the_flips_of_a_step_are_told_by_class() -> None:
    row = ledger()[-1]
    assert tables.flips_heading(cpu_measurements(), row) == (
        "INT8 engine against ONNX, INT8: 16 of 524 predictions changed"
    )
    assert tables.flips(row).rows == [
        ["defective", "3", "6", "0", "functional 6", "functional 3"],
        ["functional", "4", "3", "0", "defective 3", "defective 4"],
    ]


def test_of_many_classes_with_flips_the_first_are_shown_and_the_rest_counted() -> None:
    row = ledger()[-1]
    many = row.model_copy(update={"flips": row.flips * 100})
    content = tables.flips(many)
    assert len(content.rows) == tables.CLASSES_LISTED
    assert f"{200 - tables.CLASSES_LISTED} more classes with smaller losses" in content.caption


def test_markdown_carries_notes_and_flips_and_keeps_hostile_labels_harmless() -> None:
    rows = ledger()
    rows[-1] = rows[-1].model_copy(update={"label": "<script>alert(1)</script>"})
    text = Markdown().render(run_report(with_measurements(cpu_target(), ledger=rows)))
    assert "Distillation gained 2.1 points" in text.partition("\n## ")[0]
    assert "- The step to 'Distilled student' lost points, most of them in class" in text
    assert "| defective | 3 | 6 | 0 | functional 6 | functional 3 |" in text
    assert text.count("<details>") == text.count("</details>") == 6
    assert "<script>" not in text.replace("\\<script", "")
    assert "<summary>&lt;script&gt;" in text


def test_a_step_is_named_after_the_row_of_its_own_precision() -> None:
    rows = ledger()
    onnx = next(row for row in rows if row.representation == "onnx")
    other = onnx.model_copy(update={"precision": "fp32", "label": "ONNX, FP32"})
    measured = cpu_measurements().model_copy(update={"ledger": [other, *rows]})
    against = {row[0]: row[3] for row in tables.ledger(measured).rows}
    assert against["INT8 engine"] == "ONNX, INT8"


def test_the_row_that_ships_is_marked_among_several_engines() -> None:
    measured = cpu_measurements()
    content = tables.ledger(measured, "fp32")
    assert content.marked is not None
    assert content.rows[content.marked][0] == "FP32 engine"
    assert tables.engines(measured, "fp32").marked == 0


# JUnit


def test_junit_tells_failed_from_inconclusive() -> None:
    report = run_report(
        target_with(Outcome.PASSED, Outcome.FAILED, Outcome.INCONCLUSIVE, Outcome.FAILED),
        rtx_target(),
    )
    root = ElementTree.fromstring(Junit().render(report))
    suites = {suite.get("name"): suite for suite in root}
    assert list(suites) == ["cpu", "rtx-ada"]
    cases = suites["cpu"].findall("testcase")
    assert [[element.tag for element in case] for case in cases] == [
        [],
        ["failure"],
        ["error"],
        ["failure"],
    ]
    assert [case.get("name") for case in cases] == [f"budget_{index}" for index in range(4)]
    assert counts(suites["cpu"]) == ("4", "2", "1")
    assert counts(suites["rtx-ada"]) == ("1", "0", "1")
    assert counts(root) == ("5", "2", "2")


def counts(element: ElementTree.Element) -> tuple[str | None, ...]:
    return tuple(element.get(name) for name in ("tests", "failures", "errors"))


@given(st.text(min_size=1))
def test_any_explanation_survives_xml(explanation: str) -> None:
    report = dataclasses.replace(
        REPORT, targets=[target_with(Outcome.FAILED, explanation=explanation)]
    )
    failure = ElementTree.fromstring(Junit().render(report)).find(".//failure")
    assert failure is not None
    read, expected = failure.get("message"), printable(explanation, newlines=True)
    assert read is not None
    assert len(read) == len(expected)
    assert all(
        got in (sent, "\N{REPLACEMENT CHARACTER}") or sent.isspace()
        for got, sent in zip(read, expected, strict=True)
    )


# JSON


@pytest.fixture(scope="module")
def read_back() -> dict[str, Any]:
    content: dict[str, Any] = json.loads(Json().render(run_report()))
    return content


def test_the_summary_round_trips_and_keeps_its_keys(read_back: dict[str, Any]) -> None:
    assert read_back == json.loads(json.dumps(summary(run_report())))
    assert list(read_back) == [
        "schema_version",
        "tool_version",
        "name",
        "outcome",
        "verdict",
        "data",
        "teacher",
        "view_weights",
        "fusion",
        "student",
        "training",
        "quantization",
        "targets",
        "machine",
        "stages",
        "choices",
        "notes",
        "recipe",
    ]
    assert read_back["schema_version"] == 2
    assert set(read_back["targets"]["cpu"]) == {
        "target",
        "runtime",
        "class_names",
        "test_images",
        "outcome",
        "cover",
        "judged",
        "is_stale",
        "guarded_class",
        "guarded_recall",
        "would_ship",
        "verdict",
        "shipped",
        "bundle",
        "engines",
        "ledger",
        "confusion",
        "confusion_by_engine",
        "concerns",
        "unfit_split",
        "latency",
        "not_measured",
        "model_is_given",
        "split",
        "unusable",
        "teacher_parameters",
        "student_parameters",
    }


@pytest.mark.parametrize("file_format", [Markdown(), Html(), Json()])
def test_an_engine_without_figures_is_named_with_its_reason(file_format: Any) -> None:
    measured = Measurements.model_validate(
        {
            **cpu_measurements().model_dump(),
            "engines": [*cpu_measurements().engines, engine_file("fp16", 700_000)],
            "unusable": {"fp16": {"reason": "The logits of the FP16 engine are not finite."}},
        }
    )
    target = dataclasses.replace(cpu_target(), gate=cpu_gate(measured))
    text = file_format.render(run_report(target))
    assert "Not judged: The logits of the FP16 engine are not finite." in text
    rows = {row[0]: row[-1] for row in tables.engines(measured, "int8").rows}
    assert rows == {"FP32": "–", "INT8": "selected", "FP16": "unusable"}


def test_measurements_and_verdict_can_be_rebuilt_from_the_summary(
    read_back: dict[str, Any],
) -> None:
    for target in run_report().targets:
        gate = target.gate
        written = read_back["targets"][gate.measurements.target]
        verdict = Verdict(target=written["target"], **written["verdict"])
        assert verdict == gate.verdict
        added = (
            *("verdict", "bundle", "shipped", "would_ship", "confusion"),
            *("outcome", "cover", "judged", "is_stale"),
        )
        rebuilt = Measurements(**{key: written[key] for key in written if key not in added})
        assert rebuilt == gate.measurements
        assert written["confusion"] == gate.confusion
        assert (written["shipped"]["engine"], written["shipped"]["reason"]) == (
            gate.shipped,
            gate.reason,
        )


def test_teacher_and_fp32_student_stand_beside_what_ships(read_back: dict[str, Any]) -> None:
    latency = read_back["targets"]["cpu"]["latency"]
    assert [row["engine"] for row in latency["rows"]] == ["teacher", "fp32", "int8"]
    shipped = read_back["targets"]["cpu"]["shipped"]
    assert shipped["p50_ms"] == latency["rows"][2]["p50_ms"]
    assert shipped["top1"] == 0.828
    assert shipped["bytes"] == 341_500


def test_what_was_not_measured_is_null(read_back: dict[str, Any]) -> None:
    target = read_back["targets"]["rtx-ada"]
    assert target["latency"] is None
    assert target["shipped"]["p50_ms"] is None
    assert target["shipped"]["top1"] is None
    assert target["not_measured"] == NOT_MEASURED
    assert target["bundle"] is None


def test_the_ledger_is_written_with_all_it_knows(read_back: dict[str, Any]) -> None:
    row = read_back["targets"]["cpu"]["ledger"][2]
    assert row["p_value"] == 0.021
    assert row["expected_calibration_error"] == 0.034
    assert row["note"].startswith("The step to 'Distilled student'")
    assert row["flips"][0] == {
        "class_name": "defective",
        "gained": 3,
        "lost": 6,
        "still_wrong": 0,
        "gained_from": {"functional": 3},
        "lost_to": {"functional": 6},
    }


def test_a_figure_that_is_no_number_does_not_spoil_the_json() -> None:
    rows = [ledger()[0].model_copy(update={"macro_recall": float("nan")})]
    report = run_report(with_measurements(cpu_target(), ledger=rows))
    text = Json().render(report)
    assert "NaN" not in text
    assert json.loads(text)["targets"]["cpu"]["ledger"][0]["macro_recall"] is None


# the whole


@pytest.mark.parametrize(
    ("outcomes", "expected"),
    [
        ([Outcome.PASSED, Outcome.PASSED], Outcome.PASSED),
        ([Outcome.PASSED, Outcome.INCONCLUSIVE], Outcome.INCONCLUSIVE),
        ([Outcome.INCONCLUSIVE, Outcome.FAILED], Outcome.FAILED),
    ],
)
def test_the_worst_target_decides(outcomes: list[Outcome], expected: Outcome) -> None:
    assert run_report(*map(target_with, outcomes)).outcome is expected


def test_writing_gives_whole_files_under_their_names(tmp_path: Path) -> None:
    folder = tmp_path / "new"
    paths = write(run_report(), folder, [Markdown(), Junit(), Json()])
    assert [path.name for path in paths] == ["report.md", "junit.xml", "summary.json"]
    assert sorted(folder.iterdir()) == sorted(paths)
    assert paths[0].read_text(encoding="utf-8") == Markdown().render(run_report())


def test_a_format_that_fails_leaves_the_earlier_files_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "report.md").write_text("earlier")
    monkeypatch.setitem(sys.modules, "jinja2", None)
    with pytest.raises(MissingExtra):
        write(run_report(), tmp_path, [Markdown(), Html()])
    assert (tmp_path / "report.md").read_text() == "earlier"
    assert [path.name for path in tmp_path.iterdir()] == ["report.md"]


def test_a_folder_that_cannot_be_made_is_an_environment_problem(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(EnvironmentProblem):
        write(run_report(), tmp_path / "file" / "folder", [Markdown()])


def test_the_light_formats_need_neither_jinja2_nor_matplotlib() -> None:
    program = (
        "import sys; sys.modules.update(jinja2=None, matplotlib=None, torch=None)\n"
        "import tmkd_deploy.report.json, tmkd_deploy.report.markdown, tmkd_deploy.report.junit\n"
        "import tmkd_deploy.report.compare, tmkd_deploy.report.html\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


def test_reports_of_any_number_of_targets_render(tmp_path: Path) -> None:
    report: RunReport = dataclasses.replace(run_report(), targets=[])
    assert report.outcome is Outcome.NOT_JUDGED
    assert len(write(report, tmp_path, [Html(), Markdown(), Junit(), Json()])) == 4
