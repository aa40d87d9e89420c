from __future__ import annotations

import copy
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from report_fixture import cpu_target, rtx_target, run_report

from tmkd_deploy.errors import DataError
from tmkd_deploy.records.verdict import Outcome
from tmkd_deploy.report.compare import compare, render_markdown
from tmkd_deploy.report.json import summary

SUMMARY: dict[str, Any] = json.loads(json.dumps(summary(run_report())))


def changed(**shipped: Any) -> dict[str, Any]:
    content = copy.deepcopy(SUMMARY)
    content["targets"]["cpu"]["shipped"].update(shipped)
    return content


def test_a_run_does_not_differ_from_itself() -> None:
    cpu, rtx = compare(SUMMARY, SUMMARY).targets
    assert (cpu.target, rtx.target) == ("cpu", "rtx-ada")
    for figure in (cpu.top1, cpu.latency_p50, cpu.latency_p99, cpu.engine_bytes):
        assert figure.change == 0
    assert cpu.latency_p50.within_noise is True
    assert cpu.notes == []


def test_changes_are_points_and_percent() -> None:
    before = changed(top1=0.8, p50_ms=2.0, p99_ms=4.0, bytes=1000)
    after = changed(top1=0.79, p50_ms=1.0, p99_ms=5.0, bytes=1500)
    cpu = compare(before, after).targets[0]
    assert cpu.top1.change == pytest.approx(-1.0)
    assert cpu.latency_p50.change == pytest.approx(-50.0)
    assert cpu.latency_p99.change == pytest.approx(25.0)
    assert cpu.engine_bytes.change == pytest.approx(50.0)


@pytest.mark.parametrize(
    ("before", "after", "noise"),
    [
        ((1.0, 1.2), (1.1, 1.3), True),
        ((1.0, 1.2), (1.2, 1.3), True),
        ((1.0, 1.2), (1.21, 1.3), False),
        ((1.5, 1.6), (1.0, 1.2), False),
        ((1.0, 2.0), (1.4, 1.5), True),
        (None, (1.4, 1.5), None),
    ],
)
def test_overlapping_intervals_are_noise(
    before: tuple[float, float] | None, after: tuple[float, float], noise: bool | None
) -> None:
    cpu = compare(changed(p50_interval_ms=before), changed(p50_interval_ms=after)).targets[0]
    assert cpu.latency_p50.within_noise is noise


latencies = st.floats(0.01, 1e4)


@given(latencies, latencies)
def test_swapping_the_runs_swaps_the_direction(first: float, second: float) -> None:
    one, two = changed(p50_ms=first), changed(p50_ms=second)
    forth = compare(one, two).targets[0].latency_p50.change
    back = compare(two, one).targets[0].latency_p50.change
    assert forth is not None
    assert back is not None
    assert (1 + forth / 100) * (1 + back / 100) == pytest.approx(1)


def test_what_was_not_measured_has_no_change() -> None:
    rtx = compare(SUMMARY, SUMMARY).targets[1]
    assert rtx.latency_p50.change is None
    assert rtx.latency_p50.within_noise is None
    assert rtx.top1.change is None
    assert rtx.engine_bytes.change == 0


def test_targets_of_one_run_only_are_listed() -> None:
    only_cpu = json.loads(json.dumps(summary(run_report(cpu_target()))))
    only_rtx = json.loads(json.dumps(summary(run_report(rtx_target()))))
    assert compare(SUMMARY, only_cpu).only_before == ["rtx-ada"]
    assert compare(only_cpu, SUMMARY).only_after == ["rtx-ada"]
    nothing = compare(only_cpu, only_rtx)
    assert nothing.targets == []
    assert "no targets in common" in render_markdown(nothing)


def test_verdicts_of_the_gate_are_compared() -> None:
    strict = json.loads(json.dumps(summary(run_report(cpu_target(accuracy=0.99)))))
    cpu = compare(SUMMARY, strict).targets[0]
    assert (cpu.verdict_before, cpu.verdict_after) == (Outcome.PASSED, Outcome.FAILED)
    assert "| Verdict | ✓ passed | ✗ failed | changed |" in render_markdown(
        compare(SUMMARY, strict)
    )


def test_other_machines_and_other_test_splits_are_pointed_out() -> None:
    after = copy.deepcopy(SUMMARY)
    after["targets"]["cpu"]["latency"]["machine"]["processor"] = "Cortex-A78AE"
    after["targets"]["cpu"]["test_images"] = 600
    comparison = compare(SUMMARY, after)
    splits, machines = comparison.targets[0].notes
    assert "524 images before, 600 after" in splits
    assert "differ in processor," in machines
    assert machines in render_markdown(comparison)


def test_the_markdown_shows_both_sides_and_the_change() -> None:
    text = render_markdown(
        compare(
            changed(p50_ms=2.0, p50_interval_ms=[1.9, 2.1], engine="fp32"),
            changed(p50_ms=1.0, p50_interval_ms=[0.9, 1.1]),
        )
    )
    assert "| Latency p50 | 2.00 ms | 1.00 ms | −50.0 % |" in text
    assert "| Selected engine | FP32 | INT8 | changed |" in text
    assert "0.0 %, within noise |" in text


@pytest.mark.parametrize(
    "content",
    [
        {},
        {"schema_version": 3, "name": "x", "targets": {}},
        {"schema_version": 1, "name": "x", "targets": {"cpu": {}}},
        changed(p50_ms=0),
        changed(p50_ms="fast"),
        [],
    ],
)
def test_what_is_no_summary_is_refused_with_its_place(content: Any) -> None:
    with pytest.raises(
        DataError, match="the second summary: This is not a comparable summary"
    ) as error:
        compare(SUMMARY, content)
    assert "summary.json" in error.value.advice
