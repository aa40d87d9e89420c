"""The lock of a device, which admits one named run at a time."""

from __future__ import annotations

import fcntl
import json
import time
from collections.abc import Callable
from typing import Any

import pytest


def test_the_second_run_learns_who_holds_the_device(start: Callable[..., Any]) -> None:
    first, second = start(), start()
    first.line(), second.line()
    assert first.request("lock", owner="ann@desk pid 1") == {}
    assert first.request("lock", owner="ann@desk pid 1") == {}
    busy = second.refused("lock", owner="bob@desk pid 2")
    assert busy["code"] == "busy"
    assert "ann@desk pid 1, since 20" in busy["problem"]
    assert "lock" in second.refused("predict")["problem"]
    first.close()
    assert second.request("lock", owner="bob@desk pid 2") == {}


def test_a_killed_agent_holds_no_lock(start: Callable[..., Any]) -> None:
    first, second = start(), start()
    first.line(), second.line()
    first.request("lock", owner="ann")
    first.process.kill()
    first.process.wait()
    assert second.request("lock", owner="bob") == {}


def test_the_same_run_takes_over_from_its_broken_connection(start: Callable[..., Any]) -> None:
    first, second = start(testing=True), start()
    first.line(), second.line()
    first.request("lock", owner="ann@desk pid 1")
    first.begin("run", argv=["sleep", "300"], timeout_s=300)
    assert second.request("lock", owner="ann@desk pid 1") == {}
    assert first.process.wait(50) != 0
    third = start()
    third.line()
    assert third.refused("lock", owner="bob")["code"] == "busy"


@pytest.mark.parametrize("pid", [None, 2**22 + 1], ids=["unknown", "gone"])
def test_an_agent_that_is_dying_is_waited_for(start: Callable[..., Any], pid: int | None) -> None:
    """Its memory, and so its command line, is gone before its files are closed; simulated here."""
    first, second = start(), start()
    first.line(), second.line()
    first.request("lock", owner="ann")
    first.close()
    (path,) = first.folder.rglob("lock")
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        json.dump({"owner": "ann", "since": time.time(), "pid": pid}, file)
        file.flush()
        second.begin("lock", owner="ann")
        time.sleep(0.5)
    assert second.end()["type"] == "result"


def test_force_ends_another_run(start: Callable[..., Any]) -> None:
    first, second = start(), start()
    first.line(), second.line()
    first.request("lock", owner="ann")
    assert second.request("lock", owner="bob", force=True) == {}
    assert first.process.wait(50) != 0


def test_a_lock_needs_an_owner(agent: Any) -> None:
    assert agent.refused("lock")["code"] == "request"
    assert agent.refused("lock", owner=7)["code"] == "request"
