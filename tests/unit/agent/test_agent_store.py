"""The store on a device: what was altered there is noticed, and what is left over is deleted."""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tmkd_deploy.agent.transport import store

CONTENT = b"an engine" * 1000
SHA256 = hashlib.sha256(CONTENT).hexdigest()
DAY = 24 * 3600.0


def altered(path: Path) -> None:
    """Flip one bit, and leave size and time of change as they were."""
    times = path.stat()
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))


def aged(path: Path, days: float) -> Path:
    os.utime(path, (time.time() - days * DAY,) * 2)
    return path


def test_an_altered_file_is_not_used_and_is_sent_again(start: Callable[..., Any]) -> None:
    first = start()
    first.line()
    first.upload(CONTENT)
    stored = first.folder / "files" / SHA256
    stored.with_name(f"{SHA256}.json").write_text("its manifest")
    first.close()
    altered(stored)
    second = start()
    second.line()
    assert second.refused("fetch", sha256=SHA256, offset=0)["code"] == "data"
    assert list(stored.parent.iterdir()) == []
    assert second.upload(CONTENT) == SHA256
    assert stored.read_bytes() == CONTENT


def test_an_altered_file_counts_as_not_yet_sent(start: Callable[..., Any]) -> None:
    first = start()
    first.line()
    first.upload(CONTENT)
    first.close()
    altered(first.folder / "files" / SHA256)
    second = start()
    second.line()
    second.begin("receive", sha256=SHA256, bytes=len(CONTENT))
    assert second.line()["offset"] == 0
    second.send(CONTENT)
    assert second.end()["type"] == "result"
    assert (second.folder / "files" / SHA256).read_bytes() == CONTENT


def test_an_altered_result_is_made_again(tmp_path: Path) -> None:
    path = tmp_path / "result.json"
    result = {"engine": "0" * 64, "bytes": 7}
    store.write_result(path, result)
    assert store.read_result(path) == result
    path.write_text(path.read_text().replace("000", "001", 1))
    assert store.read_result(path) is None


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"result": 7}', json.dumps({"engine": "0"})])
def test_a_result_of_another_form_is_made_again(tmp_path: Path, text: str) -> None:
    (tmp_path / "result.json").write_text(text)
    assert store.read_result(tmp_path / "result.json") is None


def test_two_sessions_send_the_same_file_at_once(start: Callable[..., Any]) -> None:
    first, second = start(), start()
    half = len(CONTENT) // 2
    for agent in (first, second):
        agent.line()
        agent.begin("receive", sha256=SHA256, bytes=len(CONTENT))
        assert agent.line()["offset"] == 0
        agent.send(CONTENT[:half])
    for agent in (second, first):
        agent.send(CONTENT[half:])
        assert agent.end()["type"] == "result"
        assert (agent.folder / "files" / SHA256).read_bytes() == CONTENT
    assert [path.name for path in (first.folder / "files").iterdir()] == [SHA256]


def test_leftovers_are_cleaned_away_and_nothing_else(agent: Any) -> None:
    agent.request("lock", owner="the test")
    kept = agent.folder / "files" / agent.upload(CONTENT)
    (agent.folder / "scratch" / "build").mkdir(parents=True)
    names = ("files/a.part", "files/a.123.part", "agent-0.zip.123", "scratch/build/plan")
    for name in names:
        (agent.folder / name).write_bytes(b"left over")
    for name in names[:3]:
        aged(agent.folder / name, days=2)
    fresh = agent.folder / "files" / "b.part"
    fresh.write_bytes(b"another session receives it")
    assert agent.request("clean") == {"files": 4, "bytes": 4 * len(b"left over")}
    left = {path for path in agent.folder.rglob("*") if path.is_file()}
    assert left == {kept, fresh, agent.folder / "lock"}


def test_the_unfinished_files_of_whoever_holds_the_lock_stay(start: Callable[..., Any]) -> None:
    holder, other = start(), start()
    holder.line(), other.line()
    holder.request("lock", owner="the test")
    (holder.folder / "scratch").mkdir()
    (holder.folder / "scratch" / "plan").write_bytes(b"in use")
    assert other.request("clean") == {"files": 0, "bytes": 0}


def test_what_cannot_be_deleted_is_left(agent: Any) -> None:
    (agent.folder / "files" / "dangling").symlink_to("nowhere")
    (agent.folder / "files" / ("f" * 64)).write_bytes(b"old")
    aged(agent.folder / "files" / ("f" * 64), days=31)
    assert agent.request("clean") == {"files": 1, "bytes": 3}
