"""What is sent to a device: always the same bytes, which start an agent from scratch."""

from __future__ import annotations

import ast
import hashlib
import io
import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest

import tmkd_deploy
from tmkd_deploy.devices.payload import BOOTSTRAP, LOADER, agent_zip, handshake

PACKAGE = Path(tmkd_deploy.__file__).parent
PYTHON_3_4 = (3, 4)


def start(sent: bytes, home: Path, *, before: str = "", folder: Path | None = None) -> Any:
    """The first message of the agent that `sent` starts in a bare Python with no more input."""
    done = subprocess.run(
        [sys.executable, "-sS", "-c", before + LOADER],
        input=sent,
        capture_output=True,
        env={"TMKD_DEPLOY_AGENT_HOME": str(home), "PATH": os.environ["PATH"]},
        cwd=folder,
        timeout=60,
        check=False,
    )
    lines = [line for line in done.stdout.splitlines() if line.startswith(b'{"tmkd":1,')]
    assert lines, done
    return json.loads(lines[0])


def test_the_agent_is_whole_and_nothing_else_is_sent() -> None:
    with zipfile.ZipFile(io.BytesIO(agent_zip())) as archive:
        names = set(archive.namelist())
        agent = {
            str(path.relative_to(PACKAGE.parent)) for path in (PACKAGE / "agent").rglob("*.py")
        }
        session = {
            f"tmkd_deploy/runtime/{name}.py"
            for name in ("onnxruntime_session", "onnx_check", "protobuf")
        }
        empty = {"tmkd_deploy/__init__.py", "tmkd_deploy/runtime/__init__.py"}
        assert names == agent | empty | session
        for name in session:
            assert archive.read(name) == (PACKAGE.parent / name).read_bytes()
        assert all(archive.read(name) == b"" for name in empty)


def test_the_same_files_give_the_same_bytes() -> None:
    first = agent_zip()
    agent_zip.cache_clear()
    assert agent_zip() == first


@pytest.mark.parametrize("program", [LOADER, BOOTSTRAP], ids=["start", "bootstrap"])
def test_an_old_python_can_parse_the_check_of_its_version(program: str) -> None:
    ast.parse(program, feature_version=PYTHON_3_4)


def test_no_shell_finds_anything_in_the_start_to_interpret() -> None:
    assert not set(LOADER) & set("'\"\\!\n$`")


def test_it_starts_an_agent_that_says_hello(tmp_path: Path) -> None:
    home = tmp_path / "home"
    hello = start(handshake(agent_zip()), home)
    assert hello["type"] == "hello"
    assert hello["folder"] == str(home)
    digest = hashlib.sha256(agent_zip()).hexdigest()
    assert (home / f"agent-{digest}.zip").read_bytes() == agent_zip()
    assert home.stat().st_mode & 0o077 == 0, "others may put an agent of their own there"


def test_an_agent_that_a_crash_left_incomplete_is_written_anew(tmp_path: Path) -> None:
    digest = hashlib.sha256(agent_zip()).hexdigest()
    (tmp_path / f"agent-{digest}.zip").write_bytes(b"")
    assert start(handshake(agent_zip()), tmp_path)["type"] == "hello"


def test_files_where_ssh_starts_are_not_imported(tmp_path: Path) -> None:
    (tmp_path / "json.py").write_text("raise SystemExit('a json of the user')\n", encoding="utf-8")
    hello = start(handshake(agent_zip()), tmp_path / "home", folder=tmp_path)
    assert hello["type"] == "hello"


def test_a_python_that_is_too_old_is_reported(tmp_path: Path) -> None:
    # a stand-in: this Python, claiming to be an older one
    older = "import sys;sys.version_info=(3,6,9,'final',0);"
    refused = start(handshake(agent_zip()), tmp_path, before=older)
    assert (refused["type"], refused["code"]) == ("error", "environment")
    assert "3.6.9" in refused["problem"] and "3.8" in refused["advice"]


def test_an_agent_that_arrived_altered_is_not_run(tmp_path: Path) -> None:
    sent = handshake(agent_zip())
    refused = start(sent[:-1] + bytes([sent[-1] ^ 1]), tmp_path / "home")
    assert (refused["type"], refused["code"]) == ("error", "data")
    assert not (tmp_path / "home").exists()


def test_a_home_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    refused = start(handshake(agent_zip()), tmp_path / "file" / "home")
    assert (refused["type"], refused["code"]) == ("error", "environment")
    assert refused["where"] == str(tmp_path / "file" / "home")
    assert "TMKD_DEPLOY_AGENT_HOME" in refused["advice"]
