"""Fenced blocks of a Markdown page."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

FENCE = re.compile(
    r"(?:<!-- not run: (?P<reason>.*?) -->\n)?^```(?P<kind>\w*)\n(?P<text>.*?)^```$", re.M | re.S
)


@dataclass(frozen=True)
class Block:
    """One fenced block; `not_run` is the reason that the comment above it gives, if any."""

    kind: str
    text: str
    not_run: str | None

    def commands(self) -> list[str]:
        """The lines after a prompt."""
        return [line[2:] for line in self.text.splitlines() if line.startswith("$ ")]


def blocks(page: Path, *kinds: str) -> list[Block]:
    """The blocks of `page`, in order, that are tagged with one of `kinds`."""
    found = FENCE.finditer(page.read_text(encoding="utf-8"))
    every = [Block(each["kind"], each["text"], each["reason"]) for each in found]
    return [block for block in every if block.kind in kinds]
