"""JSON from files that others may have made."""

from __future__ import annotations

import json
import math
from typing import Any

DEPTH_AT_MOST = 32


def parse_json(content: bytes) -> Any:
    """The value of `content`: at most `DEPTH_AT_MOST` levels deep, finite, all text valid UTF-8.

    Raises:
        ValueError: it is anything else.
    """
    try:
        value = json.loads(content, parse_constant=_finite, parse_float=_finite)
    except RecursionError as error:
        raise ValueError("nested too deeply") from error
    level = [value]
    for _ in range(DEPTH_AT_MOST + 1):
        level = [inner for each in level for inner in _inside(each)]
    if level:
        raise ValueError("nested too deeply")
    if b"\\ud" in content.lower():  # escapes of half a character, which nothing can encode again
        json.dumps(value, ensure_ascii=False).encode("utf-8")
    return value


def _inside(value: Any) -> list[Any]:
    if isinstance(value, dict):
        return list(value.values())
    return value if isinstance(value, list) else []


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"{text} is not a finite number")
    return number
