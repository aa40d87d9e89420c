"""The agent as a process: what it sends, what it survives, and how it ends."""

from __future__ import annotations

import os
import platform
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

SLEEP = [sys.executable, "-c", "import time; print('asleep', flush=True); time.sleep(300)"]


def test_it_says_hello(start: Callable[..., Any], tmp_path: Path) -> None:
    agent = start()
    hello = agent.line()
    assert hello["type"] == "hello"
    assert hello["python"] == platform.python_version()
    assert hello["machine"] == platform.machine()
    assert hello["pid"] == agent.process.pid
    assert abs(hello["time"] - time.time()) < 60
    assert hello["folder"] == str(tmp_path / "agent")
    assert agent.folder.stat().st_mode & 0o777 == 0o700
    assert agent.close() == 0


def test_it_says_hello_with_the_oldest_python(start: Callable[..., Any]) -> None:
    oldest = shutil.which("python3.8")
    if oldest is None or subprocess.run([oldest, "-V"], check=False).returncode != 0:
        pytest.skip("there is no Python 3.8 here")
    agent = start(python=(oldest,))
    assert agent.line()["python"].startswith("3.8.")
    assert agent.refused("sing")["code"] == "request"
    assert agent.request("clean") == {"files": 0, "bytes": 0}


def test_a_folder_that_cannot_be_created_is_reported(
    start: Callable[..., Any], tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("in the way")
    agent = start(folder=tmp_path / "file" / "agent")
    line = agent.line()
    assert (line["type"], line["code"]) == ("error", "environment")
    assert "in the way" not in line["problem"]
    assert agent.process.wait(60) == 1


@pytest.mark.parametrize(
    "line",
    [b"garbage", b"[1, 2]", b'{"do": "clean"}', b'{"id": "1"}', b'{"id": true}', b"\xff\xfe"],
)
def test_a_line_that_is_no_request_is_refused_and_survived(agent: Any, line: bytes) -> None:
    agent.send(line + b"\n")
    answer = agent.line()
    assert (answer["type"], answer["code"], answer["id"]) == ("error", "request", None)
    assert agent.request("clean") == {"files": 0, "bytes": 0}


def test_unknown_requests_are_refused_and_survived(agent: Any) -> None:
    names: list[Any] = ["sing", "Probe", "__main__", "", None, 7, ["probe"]]
    for name in names:
        assert agent.refused(name)["code"] == "request"
    assert agent.request("clean") == {"files": 0, "bytes": 0}


def test_what_uses_the_device_needs_its_lock(agent: Any) -> None:
    for name in ("build", "predict", "measure"):
        assert "lock" in agent.refused(name)["problem"]


def test_libraries_that_print_do_not_spoil_the_stream(start: Callable[..., Any]) -> None:
    agent = start(testing=True)
    agent.line()
    assert agent.request("chatter") == {}
    assert agent.request("clean") == {"files": 0, "bytes": 0}
    agent.process.stdin.close()
    printed = agent.process.stderr.read()
    for what in (b"by print", b"by the file descriptor", b"by a shell", b"by the C library"):
        assert what in printed


def test_a_programs_output_is_forwarded_line_by_line(start: Callable[..., Any]) -> None:
    agent = start(testing=True)
    agent.line()
    program = "import sys; print('one'); print('two', file=sys.stderr); sys.exit(3)"
    finished = agent.request("run", argv=[sys.executable, "-u", "-c", program], timeout_s=60)
    assert finished == {"returncode": 3, "output": "one\ntwo\n"}
    assert [line["text"] for line in agent.messages if line["type"] == "say"] == ["one", "two"]


def test_it_sends_heartbeats_while_it_works(start: Callable[..., Any]) -> None:
    agent = start(testing=True)
    agent.line()
    agent.request("run", argv=["sleep", "1"], timeout_s=60)
    assert [line["type"] for line in agent.messages].count("heartbeat") >= 2
    assert agent.request("clean") == {"files": 0, "bytes": 0}


def test_a_program_that_is_killed_is_taken_for_a_lack_of_memory(start: Callable[..., Any]) -> None:
    agent = start(testing=True)
    agent.line()
    killed = agent.refused("run", argv=["sh", "-c", "kill -KILL $$"], timeout_s=60)
    assert killed["code"] == "out_of_memory"
    assert "swap" in killed["advice"]


def test_a_program_that_takes_too_long_is_stopped(start: Callable[..., Any]) -> None:
    agent = start(testing=True)
    agent.line()
    late = agent.refused("run", argv=SLEEP, timeout_s=0.5)
    assert late["code"] == "environment"
    assert "within 0 seconds" in late["problem"] or "within 1 seconds" in late["problem"]


def test_a_program_that_is_missing_is_named(start: Callable[..., Any]) -> None:
    agent = start(testing=True)
    agent.line()
    missing = agent.refused("run", argv=["/no/such/trtexec"], timeout_s=1)
    assert missing["code"] == "environment"
    assert missing["where"] == "/no/such/trtexec"


def test_an_unexpected_exception_is_an_answer(start: Callable[..., Any]) -> None:
    agent = start(testing=True)
    agent.line()
    assert agent.refused("fail", how="memory")["code"] == "out_of_memory"
    assert agent.refused("fail", how="bug")["code"] == "environment"
    assert agent.request("clean") == {"files": 0, "bytes": 0}


@pytest.mark.parametrize("end", ["hang up", "terminate", "kill"])
def test_it_and_its_programs_end_with_the_connection(start: Callable[..., Any], end: str) -> None:
    agent = start(testing=True)
    agent.line()
    agent.begin("run", argv=["sh", "-c", 'echo $$; "$@" & wait', "sh", *SLEEP], timeout_s=300)
    shell = _said(agent)
    assert _said(agent) == "asleep"
    grandchild = int(Path(f"/proc/{shell}/task/{shell}/children").read_text().split()[0])
    deadline = time.monotonic() + 100  # of the 300 seconds that its program would take
    if end == "hang up":
        agent.process.stdin.close()
    else:
        agent.process.send_signal(signal.SIGTERM if end == "terminate" else signal.SIGKILL)
    agent.process.wait(60)
    # if the agent itself is killed, the kernel ends only its program
    pids = [int(shell)] if end == "kill" else [int(shell), grandchild]
    while any(_lives(pid) for pid in pids):
        time.sleep(0.01)
        assert time.monotonic() < deadline
    if end == "kill":
        os.kill(grandchild, signal.SIGKILL)


def _said(agent: Any) -> str:
    while (line := agent.line())["type"] != "say":
        pass
    text: str = line["text"]
    return text


def _lives(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state not in ("Z", "X")


def test_measuring_without_tensorrts_module_is_refused_with_advice(agent: Any) -> None:
    # as on a device with trtexec only, whose engines it can build
    agent.request("lock", owner="test")
    asked = {"runtime": "tensorrt", "engine": "0" * 64, "images": "0" * 64, "threads": 1}
    error = agent.refused("predict", **asked)
    assert error["code"] == "environment" and "cannot import tensorrt" in error["problem"]
    assert "python3-libnvinfer" in error["advice"] and "trtexec" in error["advice"]
