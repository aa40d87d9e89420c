"""How a check ends, and the evidence that it collects on the way.

A check returns if what it measured shows its claim; otherwise it raises one of the two exceptions
here, or lets an error of the device pass, which contradicts the claim.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Literal

from tmkd_deploy.printable import printable

Outcome = Literal["shown", "contradicted", "not run"]
Scalar = bool | int | float | str | None
Figure = Scalar | list[Scalar]

_MOST_FIGURES = 40
_MOST_VALUES = 40
MOST_LINES = 24
LONGEST = 300  # characters


class NotRun(Exception):  # noqa: N818 - an outcome, not an error
    """Why a claim could neither be shown nor contradicted on this device."""


class Contradicted(Exception):  # noqa: N818 - an outcome, not an error
    """What was measured that a claim denies."""


class Evidence:
    """Figures by name and lines of text, each bounded and printable."""

    def __init__(self) -> None:
        self.figures: dict[str, Figure] = {}
        self.lines: list[str] = []

    def add(self, **figures: Scalar | Sequence[Scalar]) -> None:
        """Add figures; those beyond the bounds are left out."""
        for name, value in figures.items():
            if len(self.figures) < _MOST_FIGURES or name in self.figures:
                self.figures[name] = (
                    [_bounded(each) for each in value[:_MOST_VALUES]]
                    if isinstance(value, list | tuple)
                    else _bounded(value)  # type: ignore[arg-type] # a text is the only other sequence
                )

    def quote(self, lines: Iterable[str]) -> None:
        """Add lines of a log or a command's output."""
        for line in lines:
            if len(self.lines) < MOST_LINES:
                self.lines.append(printable(line.strip(), LONGEST))


def require(condition: bool, reason: str) -> None:
    """Raise `NotRun` unless the device fulfils a condition."""
    if not condition:
        raise NotRun(reason)


def expect(condition: bool, found: str) -> None:
    """Raise `Contradicted` unless what was measured is as the claim says."""
    if not condition:
        raise Contradicted(found)


def _bounded(value: Scalar) -> Scalar:
    if isinstance(value, str):
        return printable(value, LONGEST)
    return float(f"{value:.6g}") if isinstance(value, float) else value
