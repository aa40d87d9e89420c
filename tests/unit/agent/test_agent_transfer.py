"""Uploads and downloads: interrupted, corrupted, too large, and repeated."""

from __future__ import annotations

import base64
import hashlib
import os
import random
import resource
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

CONTENT = random.Random(0).randbytes(700_000)
SHA256 = hashlib.sha256(CONTENT).hexdigest()
MONTH = 31 * 24 * 3600


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A separate disk of 1 MiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)]
    try:
        mounted = subprocess.run(mount, capture_output=True, check=False).returncode == 0
    except OSError:
        mounted = False
    if not mounted:
        pytest.skip("only root may mount a small disk")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


def test_a_file_arrives_once(agent: Any) -> None:
    assert agent.upload(CONTENT) == SHA256
    kept = agent.folder / "files" / SHA256
    assert kept.read_bytes() == CONTENT
    assert [path.name for path in (agent.folder / "files").iterdir()] == [SHA256]
    before = kept.stat().st_ino
    agent.begin("receive", sha256=SHA256, bytes=len(CONTENT))
    assert agent.line()["offset"] == len(CONTENT)
    assert agent.end()["value"] == {"sha256": SHA256, "bytes": len(CONTENT)}
    assert kept.stat().st_ino == before


def test_an_empty_file_arrives(agent: Any) -> None:
    sha256 = agent.upload(b"")
    assert (agent.folder / "files" / sha256).read_bytes() == b""


@pytest.mark.parametrize("sent", [0, 1, 300_000, len(CONTENT)])
def test_an_upload_that_was_cut_goes_on(start: Callable[..., Any], sent: int) -> None:
    first = start()
    first.line()
    first.begin("receive", sha256=SHA256, bytes=len(CONTENT) + (sent == len(CONTENT)))
    assert first.line()["offset"] == 0
    first.send(CONTENT[:sent])
    first.close()
    second = start()
    second.line()
    second.begin("receive", sha256=SHA256, bytes=len(CONTENT))
    assert second.line()["offset"] == sent
    second.send(CONTENT[sent:])
    assert second.end()["type"] == "result"
    assert (second.folder / "files" / SHA256).read_bytes() == CONTENT


def test_an_altered_file_is_thrown_away_and_may_be_sent_again(agent: Any) -> None:
    agent.begin("receive", sha256=SHA256, bytes=len(CONTENT))
    agent.line()
    agent.send(CONTENT[:-1] + b"\0")
    assert agent.end()["code"] == "data"
    assert list((agent.folder / "files").iterdir()) == []
    assert agent.upload(CONTENT) == SHA256


def test_a_part_longer_than_the_file_is_no_part_of_it(agent: Any) -> None:
    (agent.folder / "files" / f"{SHA256}.part").write_bytes(CONTENT + b"more")
    assert agent.upload(CONTENT) == SHA256


def test_names_that_are_no_hashes_are_refused(agent: Any) -> None:
    for name in ("../../../etc/passwd", "", "A" * 64, "0" * 63, "0" * 64 + "\n"):
        assert agent.refused("fetch", sha256=name, offset=0)["code"] == "request"
        assert agent.refused("receive", sha256=name, bytes=1)["code"] == "request"


def test_a_disk_that_is_too_small_is_reported_with_both_sizes(
    start: Callable[..., Any], small_disk: Path
) -> None:
    agent = start(folder=small_disk / "agent")
    agent.line()
    full = agent.refused("receive", sha256=SHA256, bytes=3 << 20)
    assert full["code"] == "disk_full"
    assert "3.0 MB" in full["problem"]
    assert "1.0 MB free" in full["problem"] or "0.9 MB free" in full["problem"]
    assert agent.upload(CONTENT) == SHA256


def test_a_disk_that_fills_in_mid_upload_is_reported(
    start: Callable[..., Any], small_disk: Path
) -> None:
    agent = start(folder=small_disk / "agent")
    agent.line()
    agent.begin("receive", sha256=SHA256, bytes=len(CONTENT))
    agent.line()
    (small_disk / "another program's").write_bytes(bytes(600_000))
    agent.send(CONTENT)
    assert agent.end()["code"] == "disk_full"
    assert list((agent.folder / "files").iterdir()) == []
    (small_disk / "another program's").unlink()
    assert agent.upload(CONTENT) == SHA256


def test_a_file_size_limit_is_reported(start: Callable[..., Any]) -> None:
    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))

    agent = start(preexec_fn=limit)
    agent.line()
    agent.begin("receive", sha256=SHA256, bytes=len(CONTENT))
    agent.line()
    agent.send(CONTENT)
    assert agent.end()["code"] == "disk_full"
    assert agent.upload(b"small") == hashlib.sha256(b"small").hexdigest()


def test_a_file_is_fetched_from_any_place_on(agent: Any) -> None:
    agent.upload(CONTENT)
    for offset in (0, 1, 262_144, len(CONTENT) - 1, len(CONTENT)):
        assert agent.request("fetch", sha256=SHA256, offset=offset) == {"bytes": len(CONTENT)}
        fetched = CONTENT[:offset]
        chunks = [line for line in agent.messages if line["type"] == "chunk"]
        for line in chunks:
            assert line["offset"] == len(fetched)
            fetched += base64.b64decode(line["data"])
        assert fetched == CONTENT
        assert all(len(line["data"]) <= (256 << 10) * 4 / 3 + 4 for line in chunks)
        sent = [line for line in agent.messages if line["type"] == "progress"]
        ends = [(line["done"], line["total"], line["unit"]) for line in sent[-1:]]
        assert ends == [(len(CONTENT), len(CONTENT), "bytes")] * bool(chunks)


def test_a_file_that_the_device_lacks_cannot_be_fetched(agent: Any) -> None:
    assert agent.refused("fetch", sha256=SHA256, offset=0)["code"] == "data"
    agent.upload(CONTENT)
    assert agent.refused("fetch", sha256=SHA256, offset=len(CONTENT) + 1)["code"] == "request"
    assert agent.refused("fetch", sha256=SHA256, offset=-1)["code"] == "request"


def test_files_that_are_not_the_agents_are_left_alone(agent: Any) -> None:
    # TMKD_DEPLOY_AGENT_HOME may name a folder that the account uses for other things, too
    (agent.folder / "photos").mkdir()
    foreign = [agent.folder / "notes.txt", agent.folder / "photos/1.jpg", agent.folder / "a.part"]
    ours = agent.folder / "agent-0123.zip"
    for path in (*foreign, ours):
        path.write_bytes(b"old")
        os.utime(path, (time.time() - MONTH, time.time() - MONTH))
    assert agent.request("clean") == {"files": 1, "bytes": 3}
    assert all(path.exists() for path in foreign) and not ours.exists()


def test_files_unused_for_a_month_are_cleaned_away(agent: Any) -> None:
    old, used = agent.upload(b"old"), agent.upload(b"used")
    for sha256 in (old, used):
        path = agent.folder / "files" / sha256
        os.utime(path, (time.time() - MONTH, time.time() - MONTH))
    agent.request("fetch", sha256=used, offset=0)
    assert agent.request("clean") == {"files": 1, "bytes": 3}
    assert agent.refused("fetch", sha256=old, offset=0)["code"] == "data"
    agent.request("fetch", sha256=used, offset=0)
