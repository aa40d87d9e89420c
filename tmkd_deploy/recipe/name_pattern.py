"""File-name patterns with `*` and `{group}`, matched in linear time.

They are not regular expressions, because one from a recipe could take forever to match.
"""

from __future__ import annotations

import itertools
import re
from dataclasses import dataclass

GROUP, ANY = "{group}", "*"


@dataclass(frozen=True)
class NamePattern:
    """A pattern such as `{group}_*.png`; see `parse`."""

    folders: tuple[tuple[str, ...], ...]

    def group(self, path: str) -> str | None:
        """What `{group}` stands for in `path`, with "/" between several; None without a match.

        `*` and `{group}` match as few characters as they can, and no slash; `{group}` matches at
        least one. A pattern without a slash is compared with the last part of `path`, any other
        with all of it.
        """
        parts = path.split("/")
        if len(self.folders) == 1:
            parts = parts[-1:]
        if len(parts) != len(self.folders):
            return None
        found: list[str] = []
        for tokens, part in zip(self.folders, parts, strict=True):
            groups = _groups(tokens, part)
            if groups is None:
                return None
            found += groups
        return "/".join(found)


def parse(pattern: str) -> NamePattern:
    """The pattern that `pattern` writes out.

    Raises:
        ValueError: it has no `{group}`, other braces, or two wildcards without text in between.
    """
    folders = []
    for part in pattern.split("/"):
        tokens = tuple(token for token in re.split(r"(\{group\}|\*)", part) if token)
        if any(set("{}") & set(token) for token in tokens if token != GROUP):
            raise ValueError(f"{pattern!r} has braces that are not {GROUP}")
        wild = [token in (GROUP, ANY) for token in tokens]
        if any(one and other for one, other in itertools.pairwise(wild)):
            raise ValueError(f"{pattern!r} needs text between {GROUP} and its neighbour")
        folders.append(tokens)
    if not any(GROUP in tokens for tokens in folders):
        raise ValueError(f"{pattern!r} has no {GROUP}")
    return NamePattern(tuple(folders))


def _groups(tokens: tuple[str, ...], text: str) -> list[str] | None:
    """The groups in `text`; taking the first place that fits each literal never misses a match."""
    found: list[str] = []
    wildcard, start = "", 0  # a wildcard that is still open, and where it starts
    for number, token in enumerate(tokens):
        if token in (GROUP, ANY):
            wildcard = token
            continue
        if number == len(tokens) - 1:  # anchored at the end
            place = len(text) - len(token) if text.endswith(token) else -1
        else:
            place = text.find(token, start + (wildcard == GROUP))
        if place < start + (wildcard == GROUP) or (not wildcard and place != start):
            return None
        if wildcard == GROUP:
            found.append(text[start:place])
        wildcard, start = "", place + len(token)
    if not wildcard:
        return found if start == len(text) else None
    if wildcard == GROUP:
        if start == len(text):
            return None
        found.append(text[start:])
    return found
