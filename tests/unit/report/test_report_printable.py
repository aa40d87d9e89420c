"""Names that would steer a terminal or turn around what is read, in every format of the report."""

from __future__ import annotations

import dataclasses
import json
from xml.etree import ElementTree

import pytest
from report_fixture import cpu_target, run_report

from tmkd_deploy.printable import is_printable
from tmkd_deploy.report.html import Html
from tmkd_deploy.report.interface import RunReport
from tmkd_deploy.report.json import Json
from tmkd_deploy.report.junit import Junit
from tmkd_deploy.report.markdown import Markdown

NAMES = ("a\x1b]0;owned\x07\x9b\x7f", "gnp.\u202eexe\u2066\u200e")


@pytest.fixture(scope="module")
def report() -> RunReport:
    return dataclasses.replace(
        run_report(cpu_target(NAMES), class_names=NAMES),
        name=NAMES[0],
        recipe_yaml=f"note: {NAMES[1]}\ud800\nother: 1\n",
        notes=[NAMES[1]],
        machine={NAMES[0]: f"{NAMES[1]}\ud800"},
    )


@pytest.mark.parametrize("kind", [Html, Markdown, Junit, Json])
def test_every_format_is_printable(report: RunReport, kind) -> None:
    text = kind().render(report)
    assert is_printable(text.replace("\n", ""))
    assert "\\x1b" in text or "\\u001b" in text
    text.encode()


def test_a_page_keeps_its_lines(report: RunReport) -> None:
    assert "note: gnp.\\u202eexe\\u2066\\u200e\\ud800\nother: 1" in Html().render(report)


def test_programs_read_what_was_said(report: RunReport) -> None:
    assert json.loads(Json().render(report))["name"] == NAMES[0]
    assert ElementTree.fromstring(Junit().render(report)).get("name") == (
        r"a\x1b]0;owned\x07\x9b\x7f"
    )
