"""summary.json: the run's results for programs, under stable keys."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

from tmkd_deploy import __version__
from tmkd_deploy.artifacts import Record
from tmkd_deploy.records.verdict import GateRecord
from tmkd_deploy.report import formatting
from tmkd_deploy.report.cover import cover
from tmkd_deploy.report.interface import RunReport, TargetReport

SCHEMA_VERSION = 2


class Json:
    """One JSON object; shares lie in [0, 1], latencies are in milliseconds, sizes in bytes."""

    file_name = "summary.json"

    def render(self, report: RunReport) -> str:
        """The summary as JSON text, in ASCII."""
        return json.dumps(summary(report), indent=1) + "\n"


def summary(report: RunReport) -> dict[str, Any]:
    """The contents of summary.json; None marks what was not measured."""
    return {
        "schema_version": SCHEMA_VERSION,
        "tool_version": __version__,
        "name": report.name,
        "outcome": report.outcome.value,
        "verdict": formatting.overall(report.outcomes),
        "data": {**dataclasses.asdict(report.data), "split_note": report.data.split_note},
        "teacher": report.teacher and dataclasses.asdict(report.teacher),
        "view_weights": report.view_weights and _jsonable(report.view_weights),
        "fusion": report.fusion
        and {**_jsonable(report.fusion), "sentences": report.fusion.sentences},
        "student": dataclasses.asdict(report.student),
        "training": {
            name: {**_jsonable(curve), "choice": curve.choice}
            for name, curve in report.curves.items()
        },
        "quantization": dataclasses.asdict(report.quantization) if report.quantization else None,
        "targets": {target.gate.measurements.target: _target(target) for target in report.targets},
        "machine": report.machine,
        "stages": [dataclasses.asdict(stage) for stage in report.stages],
        "choices": list(report.choices),
        "notes": list(report.notes),
        "recipe": report.recipe_yaml,
    }


def _target(target: TargetReport) -> dict[str, Any]:
    gate = target.gate
    verdict = _jsonable(gate.verdict)
    return {
        "outcome": target.outcome.value,
        "cover": cover(gate),
        "judged": target.judged,
        "is_stale": target.is_stale,
        "verdict": {
            name: verdict[name] for name in ("outcome", "checks", "not_judged", "warnings")
        },
        "shipped": None if gate.shipped is None else _selected(gate),
        "would_ship": _selected(gate),
        "bundle": {"file": target.bundle_file, "bytes": target.bundle_bytes}
        if target.bundle_file
        else None,
        "confusion": gate.confusion,
        **_jsonable(gate.measurements),
    }


def _selected(gate: GateRecord) -> dict[str, Any]:
    accuracy, latency, engine = gate.accuracy, gate.latency, gate.engine
    frame = gate.measurements.frame_latency(gate.would_ship)
    return {
        "engine": gate.would_ship,
        "threshold": gate.threshold,
        "reason": gate.reason,
        "file": engine.file,
        "bytes": engine.bytes,
        "top1": accuracy.top1 if accuracy else None,
        "top1_interval": accuracy.top1_interval if accuracy else None,
        "p50_ms": latency.p50_ms if latency else None,
        "p50_interval_ms": latency.p50_interval_ms if latency else None,
        "p99_ms": latency.p99_ms if latency else None,
        "p99_interval_ms": latency.p99_interval_ms if latency else None,
        "frame_p50_ms": frame.p50_ms if frame else None,
        "frame_p50_interval_ms": frame.p50_interval_ms if frame else None,
        "frame_p99_ms": frame.p99_ms if frame else None,
        "frame_p99_interval_ms": frame.p99_interval_ms if frame else None,
    }


def _jsonable(record: Record) -> Any:
    # pydantic's JSON writes NaN as null
    return json.loads(record.model_dump_json())
