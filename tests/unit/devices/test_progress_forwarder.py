"""An agent's progress and messages, as the events receive them."""

from __future__ import annotations

from typing import Any

from recorded_events import RecordedEvents

from tmkd_deploy.devices.progress_forwarder import ProgressForwarder


def forwarded(*messages: dict[str, Any]) -> list[tuple[Any, ...]]:
    events = RecordedEvents()
    progress = ProgressForwarder(events, "Measuring", "orin")
    for message in messages:
        progress(message)
    progress.finish()
    return events.told


def progress(done: int, total: int, unit: str = "images", **more: str) -> dict[str, Any]:
    return {"type": "progress", "done": done, "total": total, "unit": unit, **more}


def test_figures_become_steps_of_one_bar() -> None:
    assert forwarded(progress(2, 10), progress(2, 10), progress(10, 10)) == [
        ("begin", "Measuring (orin)", 10, "images"),
        ("advance", 2),
        ("advance", 8),
        ("finish",),
    ]


def test_bytes_are_shown_as_megabytes() -> None:
    megabyte = 1 << 20
    assert forwarded(progress(megabyte, 2 * megabyte + 1, "bytes")) == [
        ("begin", "Measuring (orin)", 3, "MB"),
        ("advance", 1),
        ("finish",),
    ]


def test_another_phase_gets_a_separate_bar() -> None:
    assert forwarded(progress(3, 5, say="Warming up"), progress(0, 5)) == [
        ("begin", "Warming up (orin)", 5, "images"),
        ("advance", 3),
        ("finish",),
        ("begin", "Measuring (orin)", 5, "images"),
        ("finish",),
    ]


def test_repeated_work_gets_a_new_bar() -> None:
    assert forwarded(progress(4, 5), progress(1, 5))[2:] == [
        ("finish",),
        ("begin", "Measuring (orin)", 5, "images"),
        ("advance", 1),
        ("finish",),
    ]


def test_messages_name_their_device_and_heartbeats_are_dropped() -> None:
    assert forwarded(
        {"type": "say", "text": "Built."}, {"type": "warn", "text": "Hot."}, {"type": "heartbeat"}
    ) == [("say", "orin: Built."), ("warn", "orin: Hot.")]
