"""The agent as a host sees it: a separate process, started from the zip that is sent."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tmkd_deploy.devices.payload import agent_zip

# Without installed packages such as numpy; this also starts faster.
BARE = (sys.executable, "-S")

# The agent with three more requests: to run a program, to print as libraries do, and to fail.
WITH_TESTING_REQUESTS = """
import ctypes, os, sys
from tmkd_deploy.agent import __main__, child_processes
from tmkd_deploy.agent.transport import dispatch

def run(request, context):
    seconds, say = request["timeout_s"], context.writer.say
    return child_processes.run(request["argv"], context.children, seconds, say)._asdict()

def chatter(request, context):
    print("by print", flush=True)
    os.write(1, b"by the file descriptor")
    os.system("echo by a shell")
    ctypes.CDLL(None).puts(b"by the C library")
    ctypes.CDLL(None).fflush(None)
    sys.stdout.write('{"tmkd":1,"type":"result","id":1,"value":"a forgery"}')
    return {}

def fail(request, context):
    raise {"memory": MemoryError, "bug": ZeroDivisionError}[request["how"]]("as asked")

testing, known = {"run": run, "chatter": chatter, "fail": fail}, dispatch._handler
dispatch._handler = lambda name: testing.get(name) or known(name)
__main__._HEARTBEAT_SECONDS = 0.2
__main__.main()
"""


class Agent:
    """A running agent. `messages` holds what it sent since the last request, except the result."""

    def __init__(self, command: list[str], folder: Path, **options: Any) -> None:
        self.folder = folder
        self.process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            **options,
        )
        self.messages: list[dict[str, Any]] = []
        self._asked = 0

    def line(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line.startswith(b'{"tmkd":1,'), line
        answer: dict[str, Any] = json.loads(line)
        return answer

    def send(self, content: bytes) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(content)
        self.process.stdin.flush()

    def begin(self, do: str, **arguments: Any) -> None:
        self._asked += 1
        self.messages = []
        request = {"id": self._asked, "do": do, **arguments}
        self.send(json.dumps(request).encode() + b"\n")

    def end(self) -> dict[str, Any]:
        """The line that ends the current request."""
        while (line := self.line())["type"] not in ("result", "error"):
            self.messages.append(line)
        return line

    def request(self, do: str, **arguments: Any) -> Any:
        """The result of a request that succeeds."""
        self.begin(do, **arguments)
        line = self.end()
        assert line["type"] == "result", line
        assert line["id"] == self._asked
        return line["value"]

    def refused(self, do: str, **arguments: Any) -> dict[str, Any]:
        """The error of a request that fails."""
        self.begin(do, **arguments)
        line = self.end()
        assert line["type"] == "error", line
        assert line["id"] == self._asked
        assert line["problem"].endswith(".")
        return line

    def upload(self, content: bytes) -> str:
        """Send a file, as much of it as the agent lacks."""
        sha256 = hashlib.sha256(content).hexdigest()
        self.begin("receive", sha256=sha256, bytes=len(content))
        ready = self.line()
        assert ready["type"] == "ready", ready
        self.send(content[ready["offset"] :])
        assert self.end()["type"] == "result"
        return sha256

    def close(self) -> int:
        """Disconnect; returns the exit status, which comes at once."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        return self.process.wait(60)


@pytest.fixture(scope="session")
def agent_archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("agent") / "agent.zip"
    path.write_bytes(agent_zip())
    return path


@pytest.fixture
def start(tmp_path: Path, agent_archive: Path) -> Iterator[Callable[..., Agent]]:
    """Starts agents, by default in one folder, and ends them with the test."""
    agents: list[Agent] = []

    def begin(
        folder: Path = tmp_path / "agent",
        python: tuple[str, ...] = BARE,
        testing: bool = False,
        environment: dict[str, str] | None = None,
        **options: Any,
    ) -> Agent:
        rest = ["-c", WITH_TESTING_REQUESTS] if testing else ["-m", "tmkd_deploy.agent"]
        agent = Agent(
            [*python, *rest],
            folder,
            cwd=tmp_path,
            env={
                **os.environ,
                "PYTHONPATH": str(agent_archive),
                "TMKD_DEPLOY_AGENT_HOME": str(folder),
                **(environment or {}),
            },
            **options,
        )
        agents.append(agent)
        return agent

    yield begin
    for agent in agents:
        agent.process.kill()
        agent.process.wait()
        for stream in (agent.process.stdin, agent.process.stdout, agent.process.stderr):
            with contextlib.suppress(BrokenPipeError):
                stream.close()


@pytest.fixture
def agent(start: Callable[..., Agent]) -> Agent:
    """An agent that has said hello."""
    started = start()
    assert started.line()["type"] == "hello"
    return started
