"""Devices that once broke something: one test for each.

A device is a local program that writes what a hostile one would. Programs that never end run in a
child process with a deadline.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from cage import Holds
from fuzzed import agent_replies

FUZZ = str(Path(__file__).parent)
OSC = "\x1b]52;c;cm0gLXJm\x07"
HELLO = json.dumps(agent_replies.HELLO, separators=(",", ":"))
TIMEOUT = 2.0  # of the session; nothing sound is heard for longer
SECONDS = 45.0  # after which a test gives up, on the slowest of machines
DISK_BYTES = 64 << 20
MEMORY_BYTES = 512 << 20

# Talks to a device that runs `sys.argv[1]` in sh after it took the handshake, and prints how it
# ended and the largest file that this process held open meanwhile.
TALK = """
import json, os, stat, sys, threading, time
sys.path[:0] = [FUZZ]
from fuzzed import targets, agent_replies
from pathlib import Path
from unittest import mock
from tmkd_deploy.devices import device as module
from tmkd_deploy.devices.address import LocalAddress
from tmkd_deploy.errors import TmkdError
from tmkd_deploy.events import SilentEvents
program, what, folder = sys.argv[1:]
class Evil(agent_replies.Recorded):
    def command(self):
        taken = "head -c %d >/dev/null; " % self._taken
        return ["sh", "-c", taken + program]
largest = 0
def watch():
    global largest
    while True:
        for name in os.listdir("/proc/self/fd"):
            try:
                state = os.stat("/proc/self/fd/" + name)
            except OSError:
                continue
            if stat.S_ISREG(state.st_mode):
                largest = max(largest, state.st_size)
        time.sleep(0.02)
threading.Thread(target=watch, daemon=True).start()
ended = "accepted"
def use():
    with module.Device(LocalAddress(), SilentEvents(), timeout=TIMEOUT) as device:
        if what == "download":
            device.download("ab" * 32, Path(folder, "file"))
        elif what == "upload":
            Path(folder, "file").write_bytes(b"x" * 100)
            device.upload(Path(folder, "file"))
        else:
            device.request(what)
with mock.patch.object(module, "LocalRoute", lambda: Evil(Path("/dev/null"))):
    try:
        use()
    except TmkdError as error:
        ended = "refused: " + str(error)
status = Path("/proc/self/status").read_text()  # getrusage counts what forked this process, too
peak = int(status.partition("VmHWM:")[2].split()[0]) << 10
print(json.dumps({"ended": ended, "largest": largest, "peak": peak}))
"""


def talk(program: str, what: str, folder: Path) -> dict[str, Any]:
    """How talking to a device that runs `program` ended; fails if it does not end."""
    constants = f"FUZZ, TIMEOUT = {FUZZ!r}, {TIMEOUT!r}\n"
    words = [sys.executable, "-c", constants + TALK, program, what, str(folder)]
    with subprocess.Popen(words, stdout=subprocess.PIPE, start_new_session=True) as process:
        try:
            out, _ = process.communicate(timeout=SECONDS)
        except subprocess.TimeoutExpired:
            _kill_all_below(process.pid)
            process.communicate()
            pytest.fail(f"it does not end within {SECONDS:g} s")
    assert process.returncode == 0
    ended: dict[str, Any] = json.loads(out)
    assert ended["ended"].startswith("refused"), ended
    assert ended["largest"] < DISK_BYTES, ended
    assert ended["peak"] < MEMORY_BYTES, ended
    return ended


def _kill_all_below(pid: int) -> None:
    """The device has a process group of its own."""
    for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
        os.killpg(int(child), signal.SIGKILL)
    os.kill(pid, signal.SIGKILL)


def forever(line: str, pause: str = "") -> str:
    """A shell program that prints `line` for ever."""
    return f"printf '%s\\n' '{HELLO}'; while :; do printf '%s\\n' '{line}' || exit; {pause} done"


@pytest.mark.parametrize(
    "program",
    [
        "while :; do printf x || exit; sleep 0.1; done",
        "while :; do echo || exit; sleep 0.1; done",
        forever('{"tmkd":1,"type":"say","id":99,"text":"x"}', "sleep 0.1;"),
        forever("", "sleep 0.1;"),
        forever("a library prints this", "sleep 0.1;"),
    ],
    ids=["no greeting", "no greeting but lines", "of another request", "empty lines", "unrelated"],
)
def test_a_device_that_talks_without_answering(tmp_path: Path, program: str) -> None:
    talk(program, "probe", tmp_path)


@pytest.mark.parametrize("greeted", [True, False])
def test_a_device_with_endless_errors(tmp_path: Path, greeted: bool) -> None:
    hello = f"printf '%s\\n' '{HELLO}';" if greeted else ""
    talk(f"{hello} exec yes 0123456789012345678901234567890123456789 >&2", "probe", tmp_path)


def test_a_device_that_sends_more_than_it_said(tmp_path: Path) -> None:
    data = "A" * 60_000
    line = json.dumps({"tmkd": 1, "type": "chunk", "id": 1, "offset": 0, "data": data})
    program = f"printf '%s\\n' '{HELLO}'; exec yes '{line.replace(': ', ':').replace(', ', ',')}'"
    talk(program, "download", tmp_path)
    assert not (tmp_path / "file").exists()


def _doctor(holds: Holds, *lines: Any) -> None:
    text = [
        each if isinstance(each, str) else json.dumps(each, separators=(",", ":")) for each in lines
    ]
    holds("agent replies", ("doctor", "\n".join([*text, ""]).encode()))


def _answer(task: str, at: int, **changes: Any) -> tuple[str, bytes]:
    """A task whose message `at` has other fields."""
    script = agent_replies.script(task)
    script[at] = {key: value for key, value in (script[at] | changes).items() if value != "DROP"}
    lines = [json.dumps(each, separators=(",", ":")).encode() for each in script]
    return task, b"\n".join(lines) + b"\n"


@pytest.mark.parametrize(
    "line",
    [
        '{"tmkd":1}',
        '{"tmkd":1,"type":"result"}',
        '{"tmkd":1,"type":"result","id":1}',
        '{"tmkd":1,"type":"result","id":1,"value":null}',
        '{"tmkd":1,"type":"result","id":1,"value":[]}',
        '{"tmkd":1,"type":"result","id":1,"value":{}}',
        '{"tmkd":1,"type":"result","id":[1],"value":{}}',
        '{"tmkd":1,"type":["result"],"id":1}',
        '{"tmkd":1,"type":"error","id":1}',
        '{"tmkd":1,"type":"error","id":1,"code":["x"],"problem":"x","advice":"x"}',
        '{"tmkd":1,"type":"error","id":1,"code":"data","problem":{},"advice":null,"where":7}',
        '{"tmkd":null}',
        '{"tmkd":' * 900,
        '{"tmkd":1,"value":' + "[" * 50_000,
        '{"tmkd":1,"type":"progress","id":1,"done":"x","total":null,"unit":[]}',
        '{"tmkd":1,"type":"progress","id":1,"done":1e400,"total":-1,"unit":"bytes"}',
        '{"tmkd":1,"type":"say","id":1}',
    ],
)
def test_messages_that_no_agent_sends(holds: Holds, line: str) -> None:
    _doctor(holds, agent_replies.HELLO, line)
    _doctor(holds, line)


@pytest.mark.parametrize("moment", ["now", None, 1e300, -1e300, float("nan"), [], True, "DROP"])
def test_greetings_with_impossible_clocks(holds: Holds, moment: Any) -> None:
    holds("agent replies", _answer("doctor", 0, time=moment))


def test_escapes_in_what_a_device_says(holds: Holds) -> None:
    for at in (2, 3):
        holds("agent replies", _answer("refused", at, text=f"{OSC}\u202e"))
    holds("agent replies", _answer("refused", 1, say=OSC, done=0))
    words = {"problem": OSC, "advice": OSC, "where": OSC}
    holds("agent replies", _answer("refused", 5, **words))
    holds(
        "agent replies",
        _answer(
            "doctor",
            5,
            value=agent_replies.probed()
            | {"model": OSC, "system": OSC, "power_mode": {"id": 0, "name": OSC}},
        ),
    )


@pytest.mark.parametrize("value", [None, 7, "x", [], {}, {"a": []}, [1], -1, 1e400, "DROP"])
def test_device_info_of_the_wrong_types(holds: Holds, value: Any) -> None:
    for field in sorted(agent_replies.probed()):
        info = agent_replies.probed() | {field: value}
        if value == "DROP":
            del info[field]
        holds("agent replies", _answer("doctor", 5, value=info))


@pytest.mark.parametrize(
    "times",
    [[float("nan")], [-1.0], [0.0], [float("inf")], [], ["x"], [None], [[]], [True], [1e308]],
)
def test_impossible_times_are_not_published(holds: Holds, times: list[Any]) -> None:
    timed = json.loads(json.dumps(agent_replies.timed()))
    timed["blocks"]["fp32"] = [times * 2 for _ in timed["blocks"]["fp32"]]
    holds("agent replies", _answer("latency", 8, value=timed))


@pytest.mark.parametrize(
    "key", ["blocks", "warmup", "throughput", "conditions", "machine", "device_ms"]
)
@pytest.mark.parametrize(
    "value", [None, {}, [], 7, {"fp32": None}, {"fp32": float("nan")}, {"fp32": -1}]
)
def test_measurements_of_the_wrong_types(holds: Holds, key: str, value: Any) -> None:
    holds("agent replies", _answer("latency", 8, value=agent_replies.timed() | {key: value}))


def test_logits_that_are_none(holds: Holds) -> None:
    import base64

    import numpy as np

    for wrong in (
        np.full((2, 3), np.nan, "f4"),
        np.zeros((1, 3), "f4"),
        np.zeros(3, "f4"),
        np.zeros((2, 3), "i8"),
        np.array([["a"]] * 2),
    ):
        stream = io.BytesIO()
        np.save(stream, wrong)
        content = stream.getvalue()
        digest = hashlib.sha256(content).hexdigest()
        script = agent_replies.script("logits")
        script[7] = script[7] | {"value": {"logits": digest}}
        script[8] = script[8] | {"data": base64.b64encode(content).decode()}
        lines = [json.dumps(each, separators=(",", ":")).encode() for each in script]
        holds("agent replies", ("logits", b"\n".join(lines) + b"\n"))


@pytest.mark.parametrize(
    "line",
    [
        b'{"id": 1, "do": "measure", "images": "IMAGES", "engines": ["b"], "settings": {}}',
        b'{"a":' * 100_000,
        b'{"id": 1, "do": "clean", "a": ' + b"9" * 5000 + b"}",
        b'{"id": 1, "do": "clean", "a": NaN}',
        b'{"id": 1, "do": "receive", "sha256": "'
        + b"ab" * 32
        + b'", "bytes": 1'
        + b"0" * 400
        + b"}",
        b'{"id": 1, "do": "build", "runtime": "onnxruntime", "onnx": "ENGINE", "precision": "fp32",'
        b' "image_size": 8, "input": "pixels", "typing": "strong", "workspace_mb": 1e999}',
        b'{"id": 1, "do": "measure", "images": "IMAGES", "engines": [{"name": "fp32", "runtime": '
        b'"onnxruntime", "engine": "ENGINE"}], "settings": {"threads": 1, "warmup_seconds": -1,'
        b' "min_runs": 2, "min_seconds": -1000000}}',
    ],
    ids=[
        *("engines that are no objects", "nested too deeply", "a huge number", "not a number"),
        "a huge file",
        *("infinite memory", "negative seconds"),
    ],
)
def test_requests_that_no_host_sends(holds: Holds, line: bytes) -> None:
    holds("agent requests", [line, b""])
