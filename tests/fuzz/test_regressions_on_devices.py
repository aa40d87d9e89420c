"""What lies on a device, and was altered or planted there: one test for each."""

from __future__ import annotations

import hashlib
import io
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from fuzzed.targets import TARGETS

SECONDS = 120.0  # after which a test gives up, on the slowest of machines
assert TARGETS  # whose import finds what bundles are made with


def _start(home: Path) -> tuple[bytes, bytes]:
    """Both streams of an agent that is started and then left alone."""
    from tmkd_deploy.devices.payload import LOADER, agent_zip, handshake

    done = subprocess.run(
        [sys.executable, "-S", "-c", LOADER],
        input=handshake(agent_zip()),
        capture_output=True,
        env={"TMKD_DEPLOY_AGENT_HOME": str(home), "PATH": os.environ["PATH"]},
        timeout=60,
        check=False,
    )
    return done.stdout, done.stderr


def test_a_planted_agent_does_not_run(tmp_path: Path) -> None:
    import zipfile

    from tmkd_deploy.devices.payload import agent_zip

    home, mark = tmp_path / "home", tmp_path / "it ran"
    home.mkdir(mode=0o700)
    planted = io.BytesIO()
    with zipfile.ZipFile(planted, "w") as archive:
        archive.writestr("tmkd_deploy/__init__.py", "")
        archive.writestr("tmkd_deploy/agent/__init__.py", "")
        program = f"open({str(mark)!r}, 'w').close()\ndef main(): pass\n"
        archive.writestr("tmkd_deploy/agent/__main__.py", program)
    sound = agent_zip()
    content = planted.getvalue()
    path = home / f"agent-{hashlib.sha256(sound).hexdigest()}.zip"
    # bytes before an archive do no harm, so it can be made as long as the sound one
    path.write_bytes(bytes(len(sound) - len(content)) + content)
    _start(home)
    assert not mark.exists()


def test_a_folder_that_others_may_write_is_refused(tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    home.chmod(0o777)
    out, _ = _start(home)
    assert b'"type": "error"' in out or b'"type":"error"' in out, out[-500:]


def test_a_flipped_bit_in_the_stored_agent(tmp_path: Path) -> None:
    home = tmp_path / "home"
    out, _ = _start(home)
    assert b'"hello"' in out
    (stored,) = home.glob("agent-*.zip")
    content = bytearray(stored.read_bytes())
    content[len(content) // 2] ^= 1
    stored.write_bytes(content)
    out, err = _start(home)
    assert b'"hello"' in out or b'"error"' in out, err


def test_an_engine_that_was_altered_in_the_store(tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    import numpy as np
    from colour_bundle import SIDE, colour_model

    from tmkd_deploy.agent.agent_errors import AgentError
    from tmkd_deploy.agent.child_processes import ChildProcesses
    from tmkd_deploy.agent.transport.context import Context
    from tmkd_deploy.agent.transport.dispatch import handle
    from tmkd_deploy.agent.transport.reader import Reader
    from tmkd_deploy.agent.transport.writer import Writer

    for name in ("files", "results"):
        (tmp_path / name).mkdir()
    stream = io.BytesIO()
    np.save(stream, np.zeros((1, SIDE, SIDE, 3), np.uint8))
    digests = []
    for content in (colour_model(), stream.getvalue()):
        digests.append(hashlib.sha256(content).hexdigest())
        (tmp_path / "files" / digests[-1]).write_bytes(content)
    (tmp_path / "files" / digests[0]).write_bytes(colour_model(np.eye(3, dtype=np.float32)))
    with (tmp_path / "sent").open("wb") as sent:
        writer = Writer(os.dup(sent.fileno()))
    context = Context(tmp_path, writer, Reader(io.BytesIO(), lambda: None), ChildProcesses())
    handle({"id": 1, "do": "lock", "owner": "me"}, context)
    request = {"id": 2, "do": "predict", "runtime": "onnxruntime", "threads": 1}
    with pytest.raises(AgentError) as caught:
        handle({**request, "engine": digests[0], "images": digests[1]}, context)
    assert caught.value.code == "data"
    assert context.device_lock is not None
    context.device_lock.close()


def test_a_forged_lock_does_not_end_another_program(tmp_path: Path) -> None:
    """Anyone who may write the folder can name a process in the lock."""
    import fcntl

    home = tmp_path / "home"
    _start(home)
    with (
        subprocess.Popen(
            [sys.executable, "-c", "import time; time.sleep(120)", "edit", "tmkd-notes.txt"]
        ) as victim,
        (home / "lock").open("w") as lock,
    ):
        json.dump({"owner": "x", "since": 1.0, "pid": victim.pid}, lock)
        lock.flush()
        fcntl.flock(lock, fcntl.LOCK_EX)
        program = """
import json, sys
from tmkd_deploy.devices.device import Device
from tmkd_deploy.devices.address import LocalAddress
from tmkd_deploy.events import SilentEvents
from tmkd_deploy.errors import TmkdError
try:
    with Device(LocalAddress(), SilentEvents()) as device:
        device.lock(force=True)
except TmkdError as error:
    print(error)
"""
        subprocess.run(
            [sys.executable, "-c", program],
            env={**os.environ, "TMKD_DEPLOY_AGENT_HOME": str(home)},
            timeout=SECONDS,
            check=False,
        )
        time.sleep(0.2)
        lives = victim.poll() is None
        victim.kill()
    assert lives
