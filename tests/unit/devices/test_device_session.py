"""How a session handles the output of the remote side, from an agent or anything else.

The remote side is a stand-in: a few lines of Python that read what an agent is sent and answer.
"""

from __future__ import annotations

import sys
import textwrap
import time
from typing import Any

import pytest

from tmkd_deploy.devices.routes import LocalRoute
from tmkd_deploy.devices.session import Session
from tmkd_deploy.errors import (
    BusyError,
    DataError,
    EnvironmentProblem,
    ExitCode,
    RequestError,
    TmkdError,
)

TIMEOUT = 20.0
HELLO = '{"tmkd":1,"type":"hello","time":0}'
STAND_IN = f"""\
import json, os, sys, time
def tell(text): print(text, flush=True)
def skip_handshake():
    source = sys.stdin.buffer
    source.read(int(source.readline()))
    source.read(int(source.readline().split()[0]))
def hello(): tell({HELLO!r})
def answer(**facts): tell(json.dumps({{"tmkd": 1, **facts}}, separators=(",", ":")))
def requests(): return map(json.loads, sys.stdin)
"""


class StandIn(LocalRoute):
    """A local process that runs the test's program."""

    def __init__(self, program: str) -> None:
        self._program = STAND_IN + textwrap.dedent(program)

    def command(self) -> list[str]:
        return [sys.executable, "-c", self._program]


def talk(program: str, timeout: float = TIMEOUT) -> Session:
    return Session(StandIn(program), "stand-in", timeout)


def request(program: str, timeout: float = TIMEOUT) -> tuple[Any, list[Any]]:
    """The value of the first answer, and the messages before it."""
    messages: list[Any] = []
    session = talk("skip_handshake(); hello()\n" + textwrap.dedent(program), timeout)
    try:
        return session.request("build", {"precision": "int8"}, messages.append), messages
    finally:
        session.close()


def test_a_result_after_messages_and_unrelated_output() -> None:
    value, messages = request(
        """
        for request in requests():
            tell("a library prints this")
            tell('{"another": "json"}')
            answer(type="heartbeat", id=request["id"])
            answer(type="say", id=99, text="of another request")
            answer(type="progress", id=request["id"], done=1, total=2, unit="images")
            answer(type="result", id=request["id"], value=request)
        """
    )
    assert value == {"id": 1, "do": "build", "precision": "int8"}
    assert [message["type"] for message in messages] == ["heartbeat", "progress"]


@pytest.mark.parametrize(
    ("code", "kind", "exit_code"),
    [
        ("request", RequestError, ExitCode.REQUEST),
        ("data", DataError, ExitCode.DATA),
        ("busy", BusyError, ExitCode.ENVIRONMENT),
        ("environment", EnvironmentProblem, ExitCode.ENVIRONMENT),
        ("out_of_memory", EnvironmentProblem, ExitCode.ENVIRONMENT),
        ("disk_full", EnvironmentProblem, ExitCode.ENVIRONMENT),
        ("of a later version", EnvironmentProblem, ExitCode.ENVIRONMENT),
    ],
)
def test_each_code_becomes_the_error_it_stands_for(
    code: str, kind: type[TmkdError], exit_code: ExitCode
) -> None:
    session = talk(
        f"""
        skip_handshake(); hello()
        for request in requests():
            answer(type="error", id=request["id"], code={code!r}, problem="It is so.",
                   where="layer 3", advice="Do this.")
        """
    )
    for _ in range(2):  # the session lives on
        with pytest.raises(kind) as caught:
            session.request("build", {}, print)
        assert caught.value.exit_code == exit_code
        assert caught.value.problem == "It is so."
        assert caught.value.where == "stand-in, layer 3"
        assert caught.value.advice == "Do this."
        assert not session.closed
    session.close()


def test_a_refusal_in_place_of_a_greeting() -> None:
    with pytest.raises(EnvironmentProblem, match="too old") as caught:
        talk(
            'skip_handshake(); answer(type="error", id=None, code="environment", '
            'problem="too old", where=None, advice="Mend it.")'
        )
    assert caught.value.where == "stand-in"


def test_a_refusal_is_read_even_if_the_agent_is_not() -> None:
    with pytest.raises(EnvironmentProblem, match="too old"):
        talk(
            'answer(type="error", id=None, code="environment", problem="too old", where=None, '
            'advice="")'
        )


@pytest.mark.parametrize("noise", ["'welcome\\n' * 1000", "'no end ' * 8000", "'\\n' * 60_000"])
def test_a_banner_is_passed_over(noise: str) -> None:
    session = talk(f"tell({noise}); skip_handshake(); hello(); sys.stdin.read()")
    assert session.hello["time"] == 0
    session.close()


@pytest.mark.parametrize("noise", ["'first words\\n' + 'more\\n' * 5000", "'first words ' * 5000"])
def test_a_banner_without_end_is_an_error_that_shows_how_it_begins(noise: str) -> None:
    with pytest.raises(EnvironmentProblem, match='it began with "first words') as caught:
        talk(f"skip_handshake()\nwhile True: tell({noise})")
    assert "~/.bashrc" in caught.value.advice


def test_control_codes_of_a_banner_do_not_reach_the_terminal() -> None:
    with pytest.raises(EnvironmentProblem) as caught:
        talk("while True: tell('\\x1b[2J\\x07' + 'x' * 100_000)")
    assert str(caught.value).isprintable()
    with pytest.raises(EnvironmentProblem) as caught:
        talk("sys.exit('\\x1b[2J no agent here')")
    assert "no agent here" in str(caught.value) and str(caught.value).isprintable()


def test_an_agent_of_another_schema_version_is_refused() -> None:
    with pytest.raises(EnvironmentProblem) as caught:
        talk('skip_handshake(); tell(\'{"tmkd":2,"type":"hello"}\'); sys.stdin.read()')
    assert "speaks version 2" in caught.value.problem
    assert "speaks version 1" in caught.value.problem


def test_an_answer_that_is_cut_short_is_refused() -> None:
    with pytest.raises(EnvironmentProblem, match="cannot be used"):
        request('next(requests()); tell(\'{"tmkd":1,"type":"resu\')')


def test_an_agent_without_a_sign_of_life_is_given_up() -> None:
    with pytest.raises(EnvironmentProblem, match="not responded for 2 seconds"):
        request("sys.stdin.read()", timeout=2.0)


def test_signs_of_life_are_enough() -> None:
    began = time.monotonic()
    value, messages = request(
        """
        request = next(requests())
        began = time.monotonic()
        while time.monotonic() < began + 2.5:
            answer(type="heartbeat", id=1)
            time.sleep(0.1)
        answer(type="result", id=1, value="late")
        """,
        timeout=2.0,
    )
    assert value == "late"
    assert len(messages) > 1
    assert time.monotonic() - began > 2.0


def test_an_agent_that_ends_of_itself_is_quoted() -> None:
    with pytest.raises(EnvironmentProblem) as caught:
        request("next(requests()); sys.exit('ImportError: no module')")
    assert "exit code 1" in caught.value.problem
    assert "ImportError: no module" in caught.value.problem


def test_a_killed_agent_makes_one_think_of_memory() -> None:
    with pytest.raises(EnvironmentProblem, match="memory ran out"):
        request("next(requests()); os.kill(os.getpid(), 9)")


def test_a_failure_here_closes_the_session() -> None:
    session = talk(
        """
        skip_handshake(); hello()
        for request in requests():
            answer(type="say", id=request["id"], text="x")
        """
    )

    def fail(message: Any) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        session.request("build", {}, fail)
    assert session.closed


def test_a_program_that_is_not_installed_is_named() -> None:
    class Missing(LocalRoute):
        def command(self) -> list[str]:
            return ["no-such-ssh"]

    with pytest.raises(EnvironmentProblem, match="'no-such-ssh' is not installed"):
        Session(Missing(), "stand-in", TIMEOUT)
