"""What must hold of every hostile input, whatever it is fed to.

A case may succeed or be refused, and a refusal is a documented error: an exit code, a sentence, and
advice. Nothing is executed, nothing outside the case's own folder is touched, and time and memory
are bounded. `cage.py` adds the last two, because only another process can see a hang.
"""

from __future__ import annotations

import contextlib
import errno
import functools
import io
import json
import os
import sys
import traceback
import unicodedata
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple
from unittest import mock

import typer

LONGEST_MESSAGE = 64 << 10
# what reorders text on a screen, so that a name is not what it seems
_BIDIRECTIONAL = {0x061C, 0x200E, 0x200F, *range(0x202A, 0x202F), *range(0x2066, 0x206A)}
_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
_CHANGES = {
    *("os.remove", "os.rename", "os.mkdir", "os.rmdir", "os.link", "os.symlink", "os.chmod"),
    *("os.truncate", "os.chown", "os.utime", "shutil.rmtree", "shutil.move"),
}
_PROCESSES = {"subprocess.Popen", "os.system", "os.exec", "os.posix_spawn", "os.fork", "os.kill"}
_PROCESSES |= {"ctypes.dlopen"}  # of the drivers, by what asks about the machine
_NEVER = {"socket.connect", "socket.getaddrinfo", "pickle.find_class"}
_get_command = typer.main.get_command
_PRODUCT = f"{os.sep}tmkd_deploy{os.sep}"


class Violation(NamedTuple):
    """A broken promise: which one, what was seen, and the product's innermost line."""

    kind: str
    detail: str
    place: str = ""

    @property
    def signature(self) -> str:
        """The same for cases that break the same promise at the same line."""
        return f"{self.kind} at {self.place}: {self.detail.split(':')[0][:80]}"


class ViolatedError(Exception):
    """Raised by an attempt that checks more than its exceptions."""

    def __init__(self, kind: str, detail: str, place: str = "") -> None:
        super().__init__(detail)
        self.violation = Violation(kind, detail, place)


class Watch:
    """An audit hook for the files, programs and connections of the case that is running."""

    def __init__(self, home: Path) -> None:
        """`home` is the only folder that may change; the folder `canary` in it may not be read."""
        self._home = os.path.realpath(home)
        self._canary = f"{self._home}{os.sep}canary"
        self._seen: list[str] | None = None
        self._processes = False
        sys.addaudithook(self._hook)

    @contextlib.contextmanager
    def watching(self, processes: bool) -> Iterator[list[str]]:
        """What is done meanwhile that may not be done; `processes` allows starting programs."""
        self._seen, self._processes = seen, _ = [], processes
        try:
            yield seen
        finally:
            self._seen = None

    def _hook(self, event: str, arguments: tuple[Any, ...]) -> None:
        if self._seen is None:
            return
        if event == "open":
            self._opened(arguments)
        elif event in _CHANGES:
            for path in arguments[: 2 if event in ("os.rename", "os.link", "os.symlink") else 1]:
                self._changed(event, path)
        elif event == "socket.connect" and _asks_device_lock(arguments[1]):
            return
        elif event in _NEVER or (event in _PROCESSES and not self._processes):
            self._seen.append(f"{event}{arguments!r:.200}")

    def _opened(self, arguments: tuple[Any, ...]) -> None:
        path, _, flags = arguments
        if isinstance(path, int) or self._seen is None:
            return
        if (flags or 0) & _WRITING:
            self._changed("opened for writing", path)
        elif _inside(path, self._canary):
            self._seen.append(f"read {os.fsdecode(path)}")

    def _changed(self, event: str, path: Any) -> None:
        if isinstance(path, int) or self._seen is None:
            return
        allowed = _inside(path, self._home) and not _inside(path, self._canary)
        if not allowed and os.fsdecode(path) != os.devnull:
            self._seen.append(f"{event} {os.fsdecode(path)}")


def _asks_device_lock(address: Any) -> bool:
    """Whether this is the agent's machine-wide lock, which is a socket without a file."""
    return isinstance(address, str) and address.startswith("\0tmkd-deploy-")


def _inside(path: Any, folder: str) -> bool:
    real = os.path.realpath(os.fsdecode(path))
    return real == folder or real.startswith(folder + os.sep)


def judge(
    attempts: Iterator[Callable[[], object]],
    documented: tuple[type[BaseException], ...],
    watch: Watch,
    processes: bool,
) -> list[Violation]:
    """What the attempts break; each may succeed or raise a documented error."""
    found: list[Violation] = []
    for attempt in attempts:
        with watch.watching(processes) as seen:
            try:
                attempt()
            except ViolatedError as error:
                found.append(error.violation)
            except documented as error:
                found += of_error(error, quotes=processes)
            except BaseException as error:
                found.append(_undocumented(error))
        found += [Violation("touched", each) for each in seen]
    return found


def _within_own_limit(error: BaseException) -> bool:
    """Whether it was raised while the product itself limited the memory that it may take."""
    frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
    return any("checkpoint" in frame.f_code.co_filename for frame in frames)


def _undocumented(error: BaseException) -> Violation:
    text = f"{type(error).__name__}: {_short(error)}"
    if isinstance(error, MemoryError):
        return Violation("memory", text, place_of(error))
    return Violation("undocumented", text, place_of(error))


def of_error(error: BaseException, quotes: bool = False) -> list[Violation]:
    """What is wrong with a documented error; with `quotes` its words may be another program's."""
    place = place_of(error)
    found = []
    problem = str(getattr(error, "problem", error))
    # after a colon, another program may have the last word
    sentence = problem.endswith((".", "?", "!")) or ": " in problem
    advised = bool(str(getattr(error, "advice", "none is due")).strip())
    if not quotes and not (sentence and advised):
        found.append(Violation("message", f"no sentence, or no advice: {problem[-200:]!r}", place))
    code = getattr(error, "exit_code", None)
    if code is not None and int(code) not in exit_codes() - {0}:
        found.append(Violation("exit code", repr(code), place))
    for cause in _chain(error):
        if isinstance(cause, MemoryError) and not _within_own_limit(cause):
            found.append(Violation("memory", f"MemoryError behind {problem[:200]!r}", place))
        if isinstance(cause, OSError) and cause.errno in (errno.EFBIG, errno.ENOSPC):
            found.append(Violation("disk", f"a huge file behind {problem[:200]!r}", place))
    from tmkd_deploy.errors import TmkdError

    if isinstance(error, TmkdError):
        found += [each._replace(place=place) for each in _as_printed(error)]
    return found


def _as_printed(error: BaseException) -> list[Violation]:
    """What is wrong with the error once the command line has printed it."""
    from tmkd_deploy.cli import failures, output

    with captured() as streams:
        output.error(failures.explain(error).as_text())
    return of_text(*streams())


def exit_codes() -> set[int]:
    """The documented exit codes."""
    from tmkd_deploy.errors import ExitCode

    return {int(code) for code in ExitCode}


@functools.cache
def _commands(app: Any) -> Any:
    """The tree of commands; building it takes longer than most commands."""
    return _get_command(app)


def command(*arguments: str) -> tuple[int, str, str]:
    """Run the command line in this process; returns its exit code and both streams.

    Raises:
        ViolatedError: it broke a promise.
    """
    from tmkd_deploy.cli import failures
    from tmkd_deploy.cli.main import main

    errors: list[BaseException] = []
    explain = failures.explain

    def remember(error: BaseException) -> Any:
        errors.append(error)
        return explain(error)

    with (
        captured() as streams,
        mock.patch.object(failures, "explain", remember),
        mock.patch.object(typer.main, "get_command", _commands),
    ):
        code = main(list(arguments))
    out, err = streams()
    place = place_of(errors[-1]) if errors else ""
    for violation in of_command(code, out, err, "--json" in arguments):
        raise ViolatedError(violation.kind, violation.detail, place)
    return code, out, err


def of_command(code: int, out: str, err: str, as_json: bool = False) -> list[Violation]:
    """What is wrong with how a command ended."""
    found = of_text(out, err)
    if code not in exit_codes():
        found.append(Violation("exit code", f"{code}: {err[-300:]}"))
    elif code in (2, 4, 5) and not as_json and err.count("Error: ") < 1 and not out:
        found.append(Violation("message", f"exit code {code} without a message"))
    if as_json and code not in (0, 1, 3):
        try:
            json.loads(out)
        except ValueError:
            found.append(Violation("message", f"no JSON: {out[:200]!r}"))
    return found


def of_text(out: str, err: str) -> list[Violation]:
    """What is wrong with the text of both streams."""
    found = []
    both = out + err
    for forbidden in ("Traceback (most recent call last)", "Unexpected error", "This is a bug"):
        if forbidden in both:
            at = both.index(forbidden)
            found.append(Violation("undocumented", both[at : at + 300].removeprefix("Unexpected ")))
            break
    if codes := sorted({char for char in both if _is_control(char)}):
        shown = " ".join(f"U+{ord(char):04X}" for char in codes[:8])
        found.append(Violation("control codes", f"in the output: {shown}"))
    if len(err) > LONGEST_MESSAGE:
        found.append(Violation("message", f"endless: {len(err)} characters"))
    return found


def _is_control(char: str) -> bool:
    if char in "\n ":
        return False
    category = unicodedata.category(char)
    return category in ("Cc", "Cs", "Zl", "Zp") or ord(char) in _BIDIRECTIONAL


@contextlib.contextmanager
def captured() -> Iterator[Callable[[], tuple[str, str]]]:
    """Both streams, encoded as a terminal's are."""
    out_text = io.TextIOWrapper(io.BytesIO(), "utf-8", "strict", write_through=True)
    err_text = io.TextIOWrapper(io.BytesIO(), "utf-8", "backslashreplace", write_through=True)
    with contextlib.redirect_stdout(out_text), contextlib.redirect_stderr(err_text):
        # from the wrappers, because a wrapper that nothing refers to closes its buffer
        yield lambda: (_written(out_text), _written(err_text))


def _written(stream: io.TextIOWrapper) -> str:
    buffer = stream.buffer
    assert isinstance(buffer, io.BytesIO)
    return buffer.getvalue().decode("utf-8", "replace")


def place_of(error: BaseException) -> str:
    """File and function of the product's innermost frame."""
    frames = traceback.extract_tb(error.__traceback__)
    ours = [each for each in frames if _PRODUCT in each.filename]
    if not ours:
        return ""
    name = ours[-1].filename.rpartition(_PRODUCT)[2]
    return f"{name}:{ours[-1].lineno} {ours[-1].name}"


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        yield error
        seen.add(id(error))
        error = error.__cause__ or error.__context__


def _short(error: BaseException) -> str:
    try:
        return ascii(str(error))[1:-1][:300]
    except Exception:
        return "(without text)"
