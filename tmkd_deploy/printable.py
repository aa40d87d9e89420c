"""Untrusted text made safe to show: nothing in it steers a terminal or reorders what is read."""

from __future__ import annotations

import re
import unicodedata

# Control codes; format characters, among them all that are invisible or change the direction of
# text; lone surrogates; what has no meaning or a private one; separators of lines and paragraphs.
_UNSAFE = frozenset(("Cc", "Cf", "Cs", "Cn", "Co", "Zl", "Zp"))
_CANDIDATE = re.compile(r"[^ -~]")


def printable(text: str, limit: int | None = None, *, newlines: bool = False) -> str:
    r"""`text` with visible escapes, such as \x1b, for every character of no shape of its own.

    Args:
        text: of any content and length.
        limit: the most characters to return; longer text ends with an ellipsis.
        newlines: whether line feeds stay.
    """
    if limit is not None:
        text = text[: limit + 1]  # an escape is never shorter than its character
    kept = "\n" if newlines else ""
    shown = _CANDIDATE.sub(lambda found: _escaped(found[0], kept), text)
    return shown if limit is None or len(shown) <= limit else f"{shown[: limit - 1]}…"


def is_printable(text: str) -> bool:
    """Whether `text` is shown as it is."""
    return printable(text) == text


def _escaped(character: str, kept: str) -> str:
    if character in kept or unicodedata.category(character) not in _UNSAFE:
        return character
    return character.encode("unicode_escape").decode("ascii")
