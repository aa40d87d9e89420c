"""The report gathers the verdicts that the run folder holds on targets that a run did not judge."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from report_fixture import cpu_gate, rtx_target

from tmkd_deploy import artifacts
from tmkd_deploy.artifacts import Record
from tmkd_deploy.pipeline.stages.report import Report
from tmkd_deploy.records.bundle import BundleRecord
from tmkd_deploy.records.verdict import Outcome


class Told:
    """Listens for warnings."""

    def __init__(self) -> None:
        self.warnings: list[str] = []

    def warn(self, message: str) -> None:
        self.warnings.append(message)


def seal(folder: Path, kind: str, record: Record) -> None:
    with artifacts.writing(folder, kind=kind, fingerprint="f", inputs={}) as draft:
        draft.record = record


def report_in(folder: Path, *judged: str) -> tuple[Any, Told]:
    told = Told()
    targets = [SimpleNamespace(name=name) for name in judged]
    context: Any = SimpleNamespace(folder=folder, targets=targets, events=told)
    return Report(context, None), told


def bundled(outcome: Outcome) -> BundleRecord:
    return BundleRecord(
        target="cpu", precision="int8", gate=outcome, file="a.tmkd", bytes=1, sha256="0" * 64
    )


def test_verdicts_of_other_targets_are_gathered_and_this_runs_are_not(tmp_path: Path) -> None:
    seal(tmp_path / "gate" / "cpu", "gate", cpu_gate())
    seal(tmp_path / "gate" / "rtx-ada", "gate", rtx_target().gate)
    seal(tmp_path / "bundle" / "cpu", "bundle", bundled(Outcome.PASSED))
    (tmp_path / "gate" / ".rtx-draft-1").mkdir()
    report, told = report_in(tmp_path, "rtx-ada")
    (found,) = report._earlier
    assert found.gate.record == cpu_gate()
    assert found.bundle is not None
    assert told.warnings == []


def test_a_bundle_of_another_verdict_is_not_taken_for_this_one(tmp_path: Path) -> None:
    seal(tmp_path / "gate" / "cpu", "gate", cpu_gate(accuracy=0.99))
    seal(tmp_path / "bundle" / "cpu", "bundle", bundled(Outcome.PASSED))
    (found,) = report_in(tmp_path)[0]._earlier
    assert found.gate.record.shipped is None
    assert found.bundle is None


def test_what_cannot_be_read_is_left_out_with_a_warning(tmp_path: Path) -> None:
    seal(tmp_path / "gate" / "cpu", "gate", cpu_gate())
    seal(tmp_path / "gate" / "other", "gate", cpu_gate())  # says that it is of cpu
    manifest = tmp_path / "gate" / "cpu" / "manifest.json"
    content = json.loads(manifest.read_text(encoding="utf-8"))
    content["record"]["verdict"]["outcome"] = "failed"
    manifest.write_text(json.dumps(content), encoding="utf-8")
    report, told = report_in(tmp_path)
    assert report._earlier == report._earlier == []
    assert told.warnings == [
        f"The verdict on {name} cannot be read, so the report omits it."
        for name in ("cpu", "other")
    ]
