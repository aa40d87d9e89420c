"""Cases of bad input, and how a refusal must look."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from project import Done, Project


@dataclass(frozen=True)
class Case:
    """`spoil` makes the input bad; `told` are parts of the message: what, where and advice."""

    name: str
    spoil: Callable[[Project], object]
    code: int
    told: tuple[str, ...]
    command: tuple[str, ...] = ("run",)

    def __str__(self) -> str:
        return self.name


def refused(done: Done, code: int, *told: str) -> None:
    """`done` was refused with `code`, in one message that holds all of `told`."""
    assert done.code == code, done.told
    assert done.out == ""
    assert "Traceback" not in done.err
    assert done.err.count("Error: ") == 1, done.err
    for words in told:
        assert words in done.err, f"{words!r} is not in:\n{done.err}"
    assert "bug" not in done.err


def edit(old: str, new: str) -> Callable[[Project], None]:
    """What replaces `old` in the recipe."""
    return lambda project: project.replace(old, new)


def truncate(path: Path) -> None:
    """Cut `path` in half."""
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
