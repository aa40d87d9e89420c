"""What a run leaves on the screen: the verdicts last, and nothing cut at 80 columns."""

from __future__ import annotations

from pathlib import Path

import pytest
from report_fixture import cpu_gate, cpu_measurements, latency_with_frames, rtx_target

from tmkd_deploy.cli import render
from tmkd_deploy.errors import ExitCode
from tmkd_deploy.pipeline.run import RunResult
from tmkd_deploy.pipeline.run_context import StageResult
from tmkd_deploy.records.measurements import PairedCounts
from tmkd_deploy.records.verdict import GateRecord

FOLDER = Path("runs") / ("a-recipe-with-quite-a-long-name-that-somebody-chose-" + "x" * 40)


@pytest.fixture(autouse=True)
def _eighty_columns(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")


def shown(*gates: GateRecord, only_verdicts: bool = False) -> str:
    stages = [
        StageResult("gate", gate.verdict.target, False, FOLDER / "gate", 75.0, gate)
        for gate in gates
    ]
    result = RunResult(FOLDER, stages, ExitCode.OK)
    return render.run(result, only_verdicts=only_verdicts)


def failed() -> GateRecord:
    measured = cpu_measurements()
    paired = {"teacher": PairedCounts(gained=14, lost=12)}
    rows = [
        row.model_copy(update={"against": paired}) if row.representation == "engine" else row
        for row in measured.ledger
    ]
    return cpu_gate(
        measured.model_copy(update={"ledger": rows, "latency": latency_with_frames()}),
        accuracy=0.9,
        accuracy_drop_points=1.0,
        latency_p99_ms=3.0,
        worst_class_recall=0.5,
    )


def test_eighty_columns_are_enough_for_every_table() -> None:
    text = shown(failed(), rtx_target().gate)
    lines = [line for line in text.splitlines() if not line.startswith("Run folder:")]
    assert max(map(len, lines)) <= 80
    assert "…" not in text
    for whole in (
        "85.3 % (82.0 to 88.3)",
        "−5.7 (−8.4 to −3.0)",
        "8.43 ms (8.26 to 8.59)",
        "7.10 (6.90 to 7.40)",
        "latency of a whole frame",
        "2.26 ms (2.22 to 2.31)",
        "accuracy_drop_points",
    ):
        assert whole in text, text


def test_the_run_folder_stays_on_one_line_to_be_copied() -> None:
    assert f"Run folder: {FOLDER}" in shown(failed()).splitlines()


def test_the_failed_target_comes_last_and_its_failed_budget_last_of_all() -> None:
    text = shown(failed(), rtx_target().gate)
    assert text.index("rtx-ada: gate ? inconclusive") < text.index("cpu: gate ✗ failed")
    told = text[text.index("cpu: gate ✗ failed") :]
    assert "Engine that would ship: INT8." in told and "Selected engine" not in told
    assert told.splitlines()[-1] == "Verdict: ✗ failed: 1 failed (cpu), 1 inconclusive (rtx-ada)."
    assert told.index("The gain in top-1") < told.index("The top-1 accuracy is 0.83")


def test_the_gate_command_shows_verdicts_alone() -> None:
    text = shown(failed(), rtx_target().gate, only_verdicts=True)
    assert "accuracy on 524 test images" not in text and "latency of one image" not in text
    assert "cpu: gate ✗ failed" in text and "Of 100 " in text
