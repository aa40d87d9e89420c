"""Pipes to a real process: neither side blocks the other, and every wait has a timeout."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tmkd_deploy.devices.channel import Channel, ConnectionClosedError, ResponseTimeoutError

TIMEOUT = 60.0
ECHO = "import os\nwhile block := os.read(0, 50_000): os.write(1, block)"


@contextmanager
def running(program: str) -> Iterator[Channel]:
    channel = Channel([sys.executable, "-c", program])
    try:
        yield channel
    finally:
        channel.close()


def test_lines_come_one_by_one_however_they_were_written() -> None:
    program = (
        "import os,time\nfor part in [b'one\\ntw', b'o\\n\\nthr', b'ee\\n', b'unfinished']:\n"
        "    os.write(1, part); time.sleep(0.01)"
    )
    with running(program) as channel:
        assert [channel.line(TIMEOUT) for _ in range(4)] == [b"one", b"two", b"", b"three"]
        with pytest.raises(ConnectionClosedError):
            channel.line(TIMEOUT)


def test_a_program_that_prints_while_it_is_written_to_blocks_nothing() -> None:
    data = b"x" * 1023 + b"\n"
    with running(ECHO) as channel:
        channel.send(data * 4096, TIMEOUT)
        for _ in range(4096):
            assert channel.line(TIMEOUT) + b"\n" == data


def test_sending_stops_where_a_line_comes() -> None:
    program = "import sys; sys.stdin.buffer.read(100_000); print('enough', flush=True); input()"
    with running(program) as channel:
        rest = channel.send_until_line(memoryview(bytes(100_000_000)), TIMEOUT)
        assert 0 < len(rest) <= 100_000_000 - 100_000
        assert channel.has_line
        assert channel.line(TIMEOUT) == b"enough"


def test_a_silent_program_times_out() -> None:
    with running("import sys; sys.stdin.readline()") as channel:
        before = time.monotonic()
        with pytest.raises(ResponseTimeoutError):
            channel.line(0.2)
        assert 0.2 <= time.monotonic() - before < TIMEOUT


def test_a_program_that_reads_nothing_times_out() -> None:
    # It exits when its output is closed, so that closing needs no signal.
    program = "import select; poll = select.poll(); poll.register(1, 0); poll.poll()"
    with running(program) as channel, pytest.raises(ResponseTimeoutError):
        channel.send(bytes(10_000_000), 0.2)


def test_writing_to_a_program_that_ended_is_a_drop() -> None:
    with running("") as channel, pytest.raises(ConnectionClosedError):
        while True:
            channel.send(b"x" * 1024, TIMEOUT)


def test_the_end_has_an_exit_code_and_the_last_output() -> None:
    program = "import sys; print('x' * 100_000, 'the last words', file=sys.stderr); sys.exit(3)"
    with running(program) as channel:
        with pytest.raises(ConnectionClosedError):
            channel.line(TIMEOUT)
        code, said = channel.close()
        assert code == 3
        assert said.rstrip().endswith("the last words")
        assert len(said) < 20_000


def test_closing_ends_a_program_that_only_ends_with_its_input() -> None:
    with running("import sys; print('here', flush=True); sys.stdin.read(); sys.exit(7)") as channel:
        assert channel.line(TIMEOUT) == b"here"
        assert channel.close()[0] == 7


def test_a_line_without_end_is_handed_over_in_parts() -> None:
    program = "import os\nwhile True: os.write(1, b'x' * 65536)"
    with running(program) as channel:
        assert set(channel.line(TIMEOUT)) == {ord("x")}
