"""summary.json: everything a program wants to know of a run, under stable keys."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

from tmkd_deploy import __version__
from tmkd_deploy.artifacts import Record
from tmkd_deploy.gate.judge import shipped_accuracy, shipped_latency
from tmkd_deploy.report import metrics
from tmkd_deploy.report.interface import RunReport, TargetReport

SCHEMA_VERSION = 1


class Json:
    """One JSON object; shares are in [0, 1], latencies in milliseconds, sizes in bytes."""

    file_name = "summary.json"

    def render(self, report: RunReport) -> str:
        """The summary as JSON text."""
        return json.dumps(summary(report), indent=1, ensure_ascii=False) + "\n"


def summary(report: RunReport) -> dict[str, Any]:
    """The contents of summary.json; a figure that was not measured is None."""
    return {
        "schema_version": SCHEMA_VERSION,
        "tool_version": __version__,
        "name": report.name,
        "outcome": report.outcome.value,
        "data": dataclasses.asdict(report.data),
        "teacher": dataclasses.asdict(report.teacher),
        "view_weights": _plain(report.view_weights),
        "student": dataclasses.asdict(report.student),
        "quantization": dataclasses.asdict(report.quantization) if report.quantization else None,
        "targets": {target.measurements.target: _target(target) for target in report.targets},
        "machine": report.machine,
        "stages": [dataclasses.asdict(stage) for stage in report.stages],
        "notes": list(report.notes),
        "recipe": report.recipe_yaml,
    }


def _target(target: TargetReport) -> dict[str, Any]:
    measured = _plain(target.measurements)
    verdict = _plain(target.verdict)
    return {
        "verdict": {"outcome": verdict["outcome"], "checks": verdict["checks"]},
        "shipped": _shipped(target),
        "bundle": {"file": target.bundle_file, "bytes": target.bundle_bytes}
        if target.bundle_file
        else None,
        **{key: measured[key] for key in measured if not key.startswith("shipped")},
    }


def _shipped(target: TargetReport) -> dict[str, Any]:
    measured = target.measurements
    accuracy = shipped_accuracy(measured)
    latency = shipped_latency(measured)
    engine = metrics.engine_file(measured, measured.shipped)
    return {
        "engine": measured.shipped,
        "reason": measured.shipped_reason,
        "file": engine.file if engine else None,
        "bytes": engine.bytes if engine else None,
        "top1": accuracy.top1 if accuracy else None,
        "top1_interval": accuracy.top1_interval if accuracy else None,
        "p50_ms": latency.p50_ms if latency else None,
        "p50_interval_ms": latency.p50_interval_ms if latency else None,
        "p99_ms": latency.p99_ms if latency else None,
        "p99_interval_ms": latency.p99_interval_ms if latency else None,
    }


def _plain(record: Record) -> Any:
    # Through pydantic's JSON, which writes a figure that is not a number as null.
    return json.loads(record.model_dump_json())
