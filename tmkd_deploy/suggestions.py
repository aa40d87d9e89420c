"""What a person probably meant by a name that nobody knows."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

LISTED_AT_MOST = 16


def nearest(name: str, known: Iterable[str]) -> list[str]:
    """Up to three of `known` that resemble `name`, best first, upper and lower case alike."""
    by_folded = {candidate.casefold(): candidate for candidate in known}
    close = difflib.get_close_matches(name.casefold(), list(by_folded), n=3, cutoff=0.6)
    return [by_folded[folded] for folded in close]


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """One sentence that offers the names nearest to `name`, or all of `known` if they are few."""
    candidates = list(known)
    offered = [f'"{candidate}"' for candidate in nearest(name, candidates)]
    if offered:
        return f"Did you mean {_either(offered)}?"
    if len(candidates) <= LISTED_AT_MOST:
        return f"Known here: {', '.join(sorted(candidates))}."
    return "No known name resembles it."


def _either(options: list[str]) -> str:
    if len(options) == 1:
        return options[0]
    return f"{', '.join(options[:-1])} or {options[-1]}"
