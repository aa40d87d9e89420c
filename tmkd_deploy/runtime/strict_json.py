"""JSON from strangers: bounded depth, numbers and strings, nothing twice, nothing invisible."""

from __future__ import annotations

import json
import math
import re
from typing import Any

_DEEPEST = 20
_LONGEST_NUMBER = 30
_LONGEST_STRING = 4096
# Control codes, line and paragraph separators, lone surrogates, and what changes the direction of
# text: a terminal obeys the first, no file can hold the third, and the last disguises a name.
# Joiners and marks of direction stay, because Persian, Hebrew and others spell with them.
_INVISIBLE = re.compile("[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


def parse_object(raw: bytes) -> dict[str, Any]:
    """Parse a JSON object from UTF-8.

    Raises:
        ValueError: it is not JSON, or not an object, has a key twice, a number that is not finite
            or has more than 30 characters, a string of more than 4096 characters or with control
            codes, or more than 20 levels. The message completes "It ...".
    """
    try:
        document = json.loads(
            raw.decode("utf-8"),
            object_pairs_hook=_without_duplicates,
            parse_constant=_finite,
            parse_float=_finite,
            parse_int=_integer,
        )
    except (json.JSONDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ValueError("is not JSON") from error
    if not isinstance(document, dict):
        raise ValueError("is not a JSON object")
    _check(document)
    return document


def _check(document: dict[str, Any]) -> None:
    level: list[Any] = [document]
    for _ in range(_DEEPEST):
        inside: list[Any] = []
        for value in level:
            if isinstance(value, dict):
                inside += [*value, *value.values()]
            elif isinstance(value, list):
                inside += value
            elif isinstance(value, str):
                _check_text(value)
        level = inside
    if level:
        raise ValueError(f"has more than {_DEEPEST} levels")


def _check_text(text: str) -> None:
    if len(text) > _LONGEST_STRING:
        raise ValueError(f"has a text of more than {_LONGEST_STRING} characters")
    if _INVISIBLE.search(text):
        raise ValueError(f"has a text with control codes: {text[:60]!a}")


def _without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("has a key twice")
    return found


def _finite(text: str) -> float:
    number = float(text) if len(text) <= _LONGEST_NUMBER else math.nan
    if not math.isfinite(number):
        raise ValueError("has a number that is not finite or has too many digits")
    return number


def _integer(text: str) -> int:
    if len(text) > _LONGEST_NUMBER:
        raise ValueError("has a number that is not finite or has too many digits")
    return int(text)
