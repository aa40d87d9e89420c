"""Whatever a recipe, a run or a device says, the terminal shows it and does not obey it."""

from __future__ import annotations

import io
import json
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console
from rich.text import Text

from tmkd_deploy.cli import failures, output, progress, render
from tmkd_deploy.cli.main import main
from tmkd_deploy.errors import RequestError
from tmkd_deploy.printable import is_printable, printable
from tmkd_deploy.report.tables import Table

# a title and a clipboard set by a terminal; C1; DEL; overrides and marks of direction; zero width;
# a lone surrogate
HOSTILE = (
    "a\x1b]0;owned\x07\x1b]52;c;b3duZWQ=\x07\x9b2J\x7f\u202e\u2066\u200e\u061c\u200b\ufeff\ud800b"
)
SHOWN = (
    r"a\x1b]0;owned\x07\x1b]52;c;b3duZWQ=\x07\x9b2J\x7f"
    r"\u202e\u2066\u200e\u061c\u200b\ufeff\ud800b"
)


def test_what_has_no_shape_is_shown_as_an_escape() -> None:
    assert printable(HOSTILE) == SHOWN
    assert printable("Größe 猫 😀\u00a0é–✓") == "Größe 猫 😀\u00a0é–✓"
    assert printable("a\nb\tc\u2028d") == r"a\nb\tc\u2028d"
    assert printable("a\nb\r\n", newlines=True) == "a\nb\\r\n"


@given(st.text(st.characters()), st.none() | st.integers(1, 40))
def test_any_text_becomes_printable_and_short(text: str, limit: int | None) -> None:
    shown = printable(text, limit)
    assert not {unicodedata.category(each) for each in shown} & {"Cc", "Cf", "Cs", "Zl", "Zp"}
    shown.encode()
    assert is_printable(shown)
    assert limit is None or len(shown) <= limit


def test_results_errors_and_warnings_are_printable(capsys) -> None:
    output.emit(HOSTILE)
    output.error(HOSTILE)
    output.warn(HOSTILE)
    told = capsys.readouterr()
    assert told.out == f"{SHOWN}\n"
    assert told.err == f"{SHOWN}\nWarning: {SHOWN}\n"


def test_json_is_ascii_and_holds_the_text_itself(capsys) -> None:
    output.emit_json({HOSTILE: HOSTILE})
    told = capsys.readouterr().out
    assert told.isascii() and told.replace("\n", "").isprintable()
    assert json.loads(told) == {HOSTILE: HOSTILE}


@pytest.mark.parametrize("is_terminal", [False, True])
def test_the_content_of_a_file_is_changed_for_a_terminal_only(capsys, monkeypatch, is_terminal):
    monkeypatch.setattr("sys.stdout.isatty", lambda: is_terminal, raising=False)
    output.emit_file("a: \x1bb # \u202e\n")
    assert capsys.readouterr().out == (
        "a: \\x1bb # \\u202e\n" if is_terminal else "a: \x1bb # \u202e\n"
    )


def test_tables_and_lines_of_results_are_printable(monkeypatch) -> None:
    monkeypatch.setenv("COLUMNS", "1000")
    table = render.grid(Table("", [HOSTILE], [[HOSTILE]]))
    shown = render.as_text([table, HOSTILE, Text(HOSTILE, style="bold")])
    assert shown.count(SHOWN) == 3  # rich itself takes the bells out of the last one
    assert shown.count("b3duZWQ=") == 4
    assert is_printable(shown.replace("\n", ""))


def test_progress_in_lines_is_printable(capsys, monkeypatch) -> None:
    monkeypatch.setattr(progress, "SECONDS_BETWEEN_LINES", 0.0)
    events = progress.LineEvents()
    events.say(HOSTILE)
    events.warn(HOSTILE)
    events.begin(HOSTILE, 2, "images").advance()
    told = capsys.readouterr().err
    assert told.count(SHOWN) == 3 and is_printable(told.replace("\n", ""))


def test_progress_in_bars_is_printable() -> None:
    screen = Console(file=io.StringIO(), force_terminal=True, width=1000, color_system=None)
    with progress.BarEvents(screen) as events:
        events.say(HOSTILE)
        events.warn(HOSTILE)
        events.begin(HOSTILE, 2, "images").advance()
    told = screen.file.getvalue()  # type: ignore[attr-defined]
    assert SHOWN in told and f"Warning: {SHOWN}" in told
    assert "\x1b]" not in told and "\x9b" not in told and "\u202e" not in told


def test_a_failure_is_printable(capsys) -> None:
    error = RequestError(HOSTILE, where=HOSTILE, advice=HOSTILE)
    output.error(failures.explain(error).as_text())
    assert capsys.readouterr().err.count(SHOWN) == 3


@pytest.mark.parametrize("as_json", [[], ["--json"]])
def test_an_argument_is_repeated_printably(capsys, as_json) -> None:
    assert main(["explain", "run\x1b]0;x\x07\u202e", *as_json]) == 2
    told = capsys.readouterr()
    assert is_printable((told.out + told.err).replace("\n", ""))
