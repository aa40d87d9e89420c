"""junit.xml for CI servers: one test suite per target, one test case per budget.

A target that was not judged has one more test case, which is skipped.
"""

from __future__ import annotations

import re
from xml.etree.ElementTree import Element, SubElement, indent, tostring

from tmkd_deploy.printable import printable
from tmkd_deploy.records.verdict import Outcome
from tmkd_deploy.report.interface import RunReport, TargetReport

# what XML 1.0 does not allow, even escaped, among printable characters
_FORBIDDEN = re.compile("[\ufffe\uffff]")
_ELEMENT_OF = {Outcome.FAILED: "failure", Outcome.INCONCLUSIVE: "error"}


class Junit:
    """JUnit XML: a failed budget is a failure, an inconclusive one an error.

    A verdict that was not judged is skipped.
    """

    file_name = "junit.xml"

    def render(self, report: RunReport) -> str:
        """The verdicts as JUnit XML."""
        root = Element("testsuites", name=_clean(report.name))
        for target in report.targets:
            root.append(_suite(report, target))
        _count(root)
        indent(root)
        return f'<?xml version="1.0" encoding="UTF-8"?>\n{tostring(root, encoding="unicode")}\n'


def _suite(report: RunReport, target: TargetReport) -> Element:
    gate = target.gate
    suite = Element("testsuite", name=_clean(target.name))
    properties = SubElement(suite, "properties")
    for name, value in (
        ("overall_outcome", report.outcome.value),
        ("outcome", target.outcome.value),
        ("runtime", gate.engine.runtime or gate.measurements.runtime),
        ("shipped", gate.shipped or "none"),
        ("would_ship", gate.would_ship),
        ("would_ship_reason", gate.reason),
    ):
        SubElement(properties, "property", name=name, value=_clean(value))
    classname = _clean(f"{report.name}.{target.name}")
    for check in gate.verdict.checks:
        case = SubElement(suite, "testcase", classname=classname, name=_clean(check.budget))
        if check.outcome is not Outcome.PASSED:
            explanation = _clean(check.explanation)
            element = SubElement(
                case, _ELEMENT_OF[check.outcome], message=explanation, type="budget"
            )
            element.text = explanation
    if target.outcome is Outcome.NOT_JUDGED:
        case = SubElement(suite, "testcase", classname=classname, name="verdict")
        SubElement(case, "skipped", message=_clean(" ".join(target.notes)))
    _count(suite)
    return suite


def _count(element: Element) -> None:
    for attribute, tag in (
        ("tests", "testcase"),
        ("failures", "failure"),
        ("errors", "error"),
        ("skipped", "skipped"),
    ):
        element.set(attribute, str(sum(1 for _ in element.iter(tag))))


def _clean(text: str) -> str:
    return _FORBIDDEN.sub("\N{REPLACEMENT CHARACTER}", printable(text, newlines=True))
