"""junit.xml for CI servers: one test suite per target, one test case per budget."""

from __future__ import annotations

import re
from xml.etree.ElementTree import Element, SubElement, indent, tostring

from tmkd_deploy.printable import printable
from tmkd_deploy.records.verdict import Check, Outcome
from tmkd_deploy.report.interface import RunReport, TargetReport

# what XML 1.0 does not allow, even escaped, among printable characters
_FORBIDDEN = re.compile("[\ufffe\uffff]")
_ELEMENT_OF = {Outcome.FAILED: "failure", Outcome.INCONCLUSIVE: "error"}


class Junit:
    """JUnit XML: a failed budget is a failure, an inconclusive one an error."""

    file_name = "junit.xml"

    def render(self, report: RunReport) -> str:
        """The verdicts as JUnit XML."""
        root = Element("testsuites", name=_clean(report.name))
        _count(root, [check for each in report.targets for check in each.gate.verdict.checks])
        for target in report.targets:
            root.append(_suite(report.name, target))
        indent(root)
        return f'<?xml version="1.0" encoding="UTF-8"?>\n{tostring(root, encoding="unicode")}\n'


def _suite(run: str, target: TargetReport) -> Element:
    gate = target.gate
    measured, checks = gate.measurements, gate.verdict.checks
    suite = Element("testsuite", name=_clean(measured.target))
    _count(suite, checks)
    properties = SubElement(suite, "properties")
    for name, value in (
        ("runtime", measured.runtime),
        ("shipped", gate.shipped),
        ("shipped_reason", gate.reason),
    ):
        SubElement(properties, "property", name=name, value=_clean(value))
    for check in checks:
        case = SubElement(
            suite,
            "testcase",
            classname=_clean(f"{run}.{measured.target}"),
            name=_clean(check.budget),
        )
        if check.outcome is not Outcome.PASSED:
            explanation = _clean(check.explanation)
            element = SubElement(
                case, _ELEMENT_OF[check.outcome], message=explanation, type="budget"
            )
            element.text = explanation
    return suite


def _count(element: Element, checks: list[Check]) -> None:
    outcomes = [check.outcome for check in checks]
    element.set("tests", str(len(checks)))
    element.set("failures", str(outcomes.count(Outcome.FAILED)))
    element.set("errors", str(outcomes.count(Outcome.INCONCLUSIVE)))
    element.set("skipped", "0")


def _clean(text: str) -> str:
    return _FORBIDDEN.sub("\N{REPLACEMENT CHARACTER}", printable(text, newlines=True))
