"""Suggestions for names that are not known."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

LISTED_AT_MOST = 16


def nearest(name: str, known: Iterable[str]) -> list[str]:
    """Up to three of `known` that resemble `name`, best first; case is ignored."""
    by_folded = {candidate.casefold(): candidate for candidate in known}
    close = difflib.get_close_matches(name.casefold(), list(by_folded), n=3, cutoff=0.6)
    return [by_folded[folded] for folded in close]


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """A sentence that suggests the names closest to `name`, or lists `known` if it is short."""
    candidates = list(known)
    offered = [f'"{candidate}"' for candidate in nearest(name, candidates)]
    if offered:
        return f"Did you mean {_either(offered)}?"
    if len(candidates) <= LISTED_AT_MOST:
        return f"Known names: {', '.join(sorted(candidates))}."
    return "No known name is similar."


def _either(options: list[str]) -> str:
    if len(options) == 1:
        return options[0]
    return f"{', '.join(options[:-1])} or {options[-1]}"
