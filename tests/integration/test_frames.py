"""Whole frames through the command line: timed, judged, reported, and refused on devices."""

from __future__ import annotations

import json

import pytest
from project import Project

FRAME = ("--target", "cpu", "--set", "targets.cpu.frame=64x48")
BUDGETS = (
    *("--set", "targets.cpu.budgets.frame_p50_ms=1000000"),
    *("--set", "targets.cpu.budgets.frame_p99_ms=0.000001"),
)


def test_whole_frames_are_timed_judged_and_reported(project: Project) -> None:
    done = project.run("gate", *FRAME, *BUDGETS, "--json")
    assert done.code == 1, done.told
    assert [name for name, reused in done.reused().items() if not reused] == [
        "measure cpu",
        "gate cpu",
    ]
    record = project.manifest("gate/cpu")["record"]
    outcomes = {each["budget"]: each["outcome"] for each in record["verdict"]["checks"]}
    assert (outcomes["frame_p50_ms"], outcomes["frame_p99_ms"]) == ("passed", "failed")
    frame = record["measurements"]["latency"]["frame"]
    assert (frame["width"], frame["height"]) == (64, 48)
    assert {row["engine"] for row in frame["rows"]} == {"int8", "fp32"}

    done = project.run("report", *FRAME, *BUDGETS)
    assert done.code == 0, done.told
    summary = json.loads((project.run_folder / "summary.json").read_text(encoding="utf-8"))
    selected = summary["targets"]["cpu"]["would_ship"]
    assert 0 < selected["frame_p50_ms"] <= selected["frame_p99_ms"]
    assert 0 < selected["frame_p50_interval_ms"][0] <= selected["frame_p50_ms"]
    for name in ("report.md", "report.html"):
        text = (project.run_folder / name).read_text(encoding="utf-8")
        assert "from 64 x 48 raw RGB pixels in memory to label and confidence" in text


def test_frames_are_timed_again_when_they_or_the_engines_change(project: Project) -> None:
    def measured(*more: str) -> tuple[bool, set[str]]:
        done = project.run("gate", *FRAME, *more, "--json")
        assert done.code == 0, done.told
        frame = project.manifest("measure/cpu")["record"]["latency"]["frame"]
        return not done.reused()["measure cpu"], {row["engine"] for row in frame["rows"]}

    # the FP32 engine is built and timed alone either way
    assert measured("--set", "targets.cpu.precisions=[int8]") == (True, {"int8"})
    assert measured() == (True, {"int8", "fp32"})
    assert measured() == (False, {"int8", "fp32"})
    assert measured("--set", "targets.cpu.frame=48x64") == (True, {"int8", "fp32"})


@pytest.mark.parametrize(
    "elsewhere",
    [
        ("--target", "jetson", "--set", "targets.jetson.frame=64x48"),
        (*FRAME, "--device", "local"),
    ],
)
def test_frames_are_not_timed_on_devices(project: Project, elsewhere: tuple[str, ...]) -> None:
    done = project.run("gate", *elsewhere)
    assert done.code == 2, done.told
    assert "Frames are timed on this machine only" in done.err
    assert "camera_loop" in done.err
