"""Progress: bars on a terminal, seldom and plain lines elsewhere."""

import io

import pytest
from rich.console import Console

from tmkd_deploy.cli import progress
from tmkd_deploy.events import track


def test_many_steps_make_no_flood_of_lines(capsys) -> None:
    events = progress.LineEvents()
    assert sum(track(events, range(5000), "Distilling", 5000, "images")) > 0
    assert capsys.readouterr().err == ""


def test_a_line_tells_rate_and_remaining_time_without_control_codes(capsys, monkeypatch) -> None:
    monkeypatch.setattr(progress, "SECONDS_BETWEEN_LINES", 0.0)
    task = progress.LineEvents().begin("Distilling", 30, "epochs")
    task.advance(12, loss=0.34567)
    task.finish()
    line = capsys.readouterr().err
    assert line.startswith("Distilling: 12 of 30 epochs, ")
    assert "epochs/s" in line and " s left" in line and line.endswith("loss 0.3457\n")
    assert "\x1b" not in line


def test_work_of_unknown_length_does_not_disturb(capsys, monkeypatch) -> None:
    monkeypatch.setattr(progress, "SECONDS_BETWEEN_LINES", 0.0)
    progress.LineEvents().begin("Reading", 0, "images").advance(0)
    assert "0 of 0 images" in capsys.readouterr().err


def test_messages_and_warnings_are_lines(capsys) -> None:
    events = progress.LineEvents()
    events.say("The split has [1] image.")
    events.warn("Two images are the same.")
    told = capsys.readouterr()
    assert told.out == ""
    assert told.err == "The split has [1] image.\nWarning: Two images are the same.\n"


def test_quiet_keeps_warnings(capsys) -> None:
    with progress.listener(quiet=True) as events:
        events.say("Nobody hears this.")
        events.warn("But this.")
        events.begin("Work", 1, "steps").advance()
    assert capsys.readouterr().err == "Warning: But this.\n"


def test_without_a_terminal_there_are_lines(capsys) -> None:
    with progress.listener(quiet=False) as events:
        assert isinstance(events, progress.LineEvents)


@pytest.fixture
def terminal() -> Console:
    return Console(file=io.StringIO(), force_terminal=True, width=120, color_system="standard")


def test_a_terminal_gets_bars_and_plain_words(terminal) -> None:
    with progress.BarEvents(terminal) as events:
        task = events.begin("Distilling [a]", 4, "epochs")
        task.advance(2, loss=0.5)
        events.say("Half [way].")
        events.warn("Slow.")
        task.finish()
    shown = terminal.file.getvalue()
    assert "Half [way]." in shown and "Warning: Slow." in shown
    assert "Distilling [a]" in shown


def test_no_color_is_honoured(monkeypatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    console = Console(file=io.StringIO(), force_terminal=True, width=120)
    with progress.BarEvents(console) as events:
        events.warn("Slow.")
    shown = console.file.getvalue()
    assert "Warning: Slow." in shown and "\x1b[33m" not in shown
