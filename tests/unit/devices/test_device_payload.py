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
            for name in (
                *("onnxruntime_session", "openvino_session", "tensorrt_session"),
                *("runtimes", "session_options"),
                *("engine_machine", "installed_engines", "regular_file", "tensorrt_library"),
                *(
                    "cuda_buffer",
                    "cuda_graph",
                    "cuda_runtime",
                    "engine_errors",
                    "gpu_access",
                    "onnx_check",
                    "onnx_metadata",
                    "protobuf",
                ),
            )
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


def flip_a_bit(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def test_a_stored_agent_that_was_altered_is_written_anew(tmp_path: Path) -> None:
    digest = hashlib.sha256(agent_zip()).hexdigest()
    stored = tmp_path / f"agent-{digest}.zip"
    assert start(handshake(agent_zip()), tmp_path)["type"] == "hello"
    flip_a_bit(stored)
    assert start(handshake(agent_zip()), tmp_path)["type"] == "hello"
    assert stored.read_bytes() == agent_zip()


def planted(folder: Path) -> bytes:
    """Put a program of the size of the agent in its place."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr("tmkd_deploy/__init__.py", "")
        archive.writestr("tmkd_deploy/agent/__init__.py", "")
        archive.writestr(
            "tmkd_deploy/agent/__main__.py", "raise SystemExit('this is not the agent')\n"
        )
        archive.comment = b" " * 20
    program = stream.getvalue()
    padding = b"\0" * (len(agent_zip()) - len(program))
    digest = hashlib.sha256(agent_zip()).hexdigest()
    (folder / f"agent-{digest}.zip").write_bytes(padding + program)
    return padding + program


def test_a_planted_agent_of_the_same_size_is_not_run(tmp_path: Path) -> None:
    program = planted(tmp_path)
    assert len(program) == len(agent_zip())
    assert start(handshake(agent_zip()), tmp_path)["type"] == "hello"


def refused(home: Path) -> str:
    """Why this folder is not used; nothing was put into it."""
    before = sorted(home.iterdir())
    answer = start(handshake(agent_zip()), home)
    assert (answer["type"], answer["code"], answer["where"]) == ("error", "environment", str(home))
    assert "TMKD_DEPLOY_AGENT_HOME" in answer["advice"]
    assert sorted(home.iterdir()) == before
    problem: str = answer["problem"]
    return problem


@pytest.mark.parametrize("mode", [0o770, 0o702, 0o1777])
def test_a_folder_that_others_may_write_is_refused(tmp_path: Path, mode: int) -> None:
    home = tmp_path / "home"
    home.mkdir()
    home.chmod(mode)
    assert "may be written by its group or by others" in refused(home)


def test_a_folder_in_one_that_anyone_may_write_is_refused(tmp_path: Path) -> None:
    (tmp_path / "shared").mkdir()
    (tmp_path / "shared").chmod(0o777)
    (tmp_path / "shared" / "home").mkdir(mode=0o700)
    assert f"lies in {tmp_path}/shared" in refused(tmp_path / "shared" / "home")
    (tmp_path / "shared").chmod(0o1777)  # as /tmp, where only its owner renames a folder
    assert start(handshake(agent_zip()), tmp_path / "shared" / "home")["type"] == "hello"


def test_a_folder_that_is_a_link_is_refused(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir(mode=0o700)
    (tmp_path / "home").symlink_to(tmp_path / "elsewhere")
    assert "is a symbolic link" in refused(tmp_path / "home")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may give a folder away")
def test_a_folder_of_another_user_is_refused(tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir(mode=0o700)
    os.chown(home, 65534, -1)
    assert "belongs to the user with the id 65534" in refused(home)
