"""The lock of a device, which admits one named run at a time, whichever account it comes from."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tmkd_deploy.agent.agent_errors import AgentError
from tmkd_deploy.agent.transport import device_lock

NOBODY = 65534
SYSTEM_PYTHON = "/usr/bin/python3"
needs_root = pytest.mark.skipif(
    os.geteuid() != 0 or not os.access(SYSTEM_PYTHON, os.X_OK),
    reason="only root may become another user, who needs a Python that all may run",
)

# Another program that holds the lock's address: it tells sys.argv[1] of itself, or nothing.
HOLDER = """
import json, os, socket, sys, time
held = socket.socket(socket.AF_UNIX)
held.bind("\\0" + os.environ["TMKD_DEPLOY_LOCK_NAME"])
held.listen(8)
print("held", flush=True)
while True:
    connection, _ = held.accept()
    if sys.argv[1]:
        connection.send(sys.argv[1].replace("PID", str(os.getpid())).encode())
"""


@contextlib.contextmanager
def holder(told: str, **options: Any) -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(
        [sys.executable, "-S", "-c", HOLDER, told], stdout=subprocess.PIPE, **options
    )
    assert process.stdout is not None
    with process:
        try:
            assert process.stdout.readline() == b"held\n"
            yield process
        finally:
            process.kill()


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Shorter waits, for an attempt in this process."""
    monkeypatch.setattr(device_lock, "_TAKEOVER_SECONDS", 0.5)
    monkeypatch.setattr(device_lock, "_ANSWER_SECONDS", 0.2)


def take(agent: Any, owner: str, force: bool = False) -> socket.socket:
    """An attempt from the agent's home, but in this process."""
    return device_lock._take(agent.folder / "lock", owner, force)


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


def test_the_lock_is_the_machines_and_not_the_homes(
    start: Callable[..., Any], tmp_path: Path
) -> None:
    first, second = start(), start(folder=tmp_path / "another home")
    first.line(), second.line()
    first.request("lock", owner="ann@desk pid 1")
    busy = second.refused("lock", owner="bob@desk pid 2")
    assert busy["code"] == "busy"
    assert "ann@desk pid 1, since 20" in busy["problem"]
    assert second.request("lock", owner="ann@desk pid 1") == {}, "a run is found by its name"


@needs_root
def test_another_account_learns_who_holds_the_device(
    start: Callable[..., Any], agent_archive: Path
) -> None:
    with tempfile.TemporaryDirectory() as name:
        home = Path(name) / "home"  # outside the folder of the tests, which only root may enter
        home.mkdir()
        os.chown(home, NOBODY, NOBODY)
        archive = Path(shutil.copy(agent_archive, name))
        for path, mode in ((home.parent, 0o755), (archive, 0o644)):
            path.chmod(mode)
        nobody = start(
            folder=home,
            python=(SYSTEM_PYTHON, "-S"),
            environment={"PYTHONPATH": str(archive)},
            user=NOBODY,
            group=NOBODY,
            extra_groups=[],
        )
        root = start()
        assert nobody.line()["type"] == root.line()["type"] == "hello"
        root.request("lock", owner="ann@desk pid 1")
        for owner, force in (("bob", False), ("bob", True), ("ann@desk pid 1", False)):
            busy = nobody.refused("lock", owner=owner, force=force)
            assert busy["code"] == "busy"
            assert "ann@desk pid 1, since 20" in busy["problem"]
            assert "by the account root" in busy["problem"]
        root.close()
        assert nobody.request("lock", owner="bob") == {}


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


def test_a_broken_connection_that_hangs_is_taken_over(agent: Any, impatient: None) -> None:
    """As an agent that swaps: it answers nothing, and does not end when it is asked to."""
    agent.request("lock", owner="ann")
    agent.process.send_signal(signal.SIGSTOP)
    with pytest.raises(AgentError, match="in use by ann"):
        take(agent, owner="bob")
    with take(agent, owner="ann") as held:
        held.shutdown(socket.SHUT_RDWR)
    assert agent.process.wait(50) == -signal.SIGKILL


def test_an_agent_that_is_dying_is_waited_for(start: Callable[..., Any]) -> None:
    """It no longer answers, but its files are closed only later; simulated here."""
    agent = start()
    agent.line()
    with holder("") as dying:
        agent.begin("lock", owner="ann")
        time.sleep(0.5)
        dying.kill()
    assert agent.end()["type"] == "result"


def test_force_ends_another_run(start: Callable[..., Any]) -> None:
    first, second = start(), start()
    first.line(), second.line()
    first.request("lock", owner="ann")
    assert second.request("lock", owner="bob", force=True) == {}
    assert first.process.wait(50) != 0


def test_a_forged_record_ends_no_process(agent: Any, impatient: None) -> None:
    """Not even one with our name among its arguments, while something else holds the lock."""
    program = "import time; time.sleep(300)"
    with subprocess.Popen([sys.executable, "-S", "-c", program, "tmkd-deploy-agent"]) as bystander:
        claim = {"owner": "ann", "since": time.time(), "pid": bystander.pid}
        (agent.folder / "lock").write_text(json.dumps(claim))
        with holder(json.dumps(claim)):
            for force in (False, True):
                with pytest.raises(AgentError, match="does not answer"):
                    take(agent, owner="ann", force=force)
        assert bystander.poll() is None
        bystander.kill()


def test_a_process_is_only_ended_while_it_has_the_lock_open() -> None:
    with socket.socket(socket.AF_UNIX) as held:
        held.bind(device_lock._address())
        assert not device_lock._has_open(os.getpid(), device_lock._inodes())
        held.listen()
        assert device_lock._has_open(os.getpid(), device_lock._inodes())
        with contextlib.suppress(PermissionError):  # where the tests run without a common parent
            assert not device_lock._has_open(os.getppid(), device_lock._inodes())


@pytest.mark.parametrize(
    "told",
    [
        "",
        "garbage",
        "[" * 4000,
        '{"owner": "ann", "since": NaN, "pid": PID}',
        '{"owner": ["ann"], "since": 1e300, "pid": PID}',
        '{"owner": "ann", "since": {}, "pid": PID}',
        '{"owner": "ann", "pid": 1}',
    ],
)
def test_a_holder_that_tells_nonsense_is_no_more_than_busy(
    agent: Any, told: str, impatient: None
) -> None:
    with holder(told) as process:
        with pytest.raises(AgentError) as caught:
            take(agent, owner="bob")
        assert caught.value.code == "busy"
        assert process.poll() is None


def test_a_lock_needs_an_owner(agent: Any) -> None:
    assert agent.refused("lock")["code"] == "request"
    assert agent.refused("lock", owner=7)["code"] == "request"
