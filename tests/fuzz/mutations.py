"""Strategies that change valid inputs: trees of plain values, texts, and bytes with fields."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from hypothesis import strategies as st

NUMBERS: list[Any] = [
    *(0, 1, -1, 2, 255, 2**31, -(2**31), 2**32, 2**53 + 1, 2**63, 2**64, 10**30, -(10**30)),
    *(10**400, 0.0, -0.0, 0.5, 1.5, -1.5, 1e-320, 1e308, -1e308),
    *(float("nan"), float("inf"), float("-inf")),
]
TEXTS: list[Any] = [
    *("", " ", "a", ".", "..", "/", "-", "\0", "a\0b", "\n", "\r\n", "\t", "\x7f", "\x9b31m"),
    *("\x1b[2J", "\x1b]52;c;cm0gLXJm\x07", "\u202eexe.png", "\u2028", "\ufeff", "\ufffe"),
    *("\ud800", "a\udcffb", "\U0001f600", "é" * 2000, "a" * 70_000, "%s%n{0}", "=1+1", "[bold]"),
    *("<script>alert(1)</script>", "'; --", "$(id)", "`id`", "-oProxyCommand=id", "--help"),
    *("~nobody/x", "~no-such-user/x", "../canary/secret", "../../canary/secret", "/proc/self/mem"),
    *("nan", "inf", "NaN", "1e999", "true", "null", "0x10", "1_000", "٣", "int8", "cpu", "jetson"),
    "{0..3}",
]
NESTS: list[Any] = [[], {}, [[]], [None], {"": 0}, {"a": {"b": [1, {"c": None}]}}, ["a", 1, None]]
VALUES = st.one_of(
    st.sampled_from([None, True, False, *NUMBERS]),
    st.sampled_from(TEXTS),
    st.sampled_from(NESTS),
    st.integers(-(2**70), 2**70),
    st.floats(),
    st.text(max_size=20),
).map(copy.deepcopy)  # they become part of a tree that is changed further

Path = tuple[Any, ...]


def places(tree: Any, path: Path = ()) -> list[Path]:
    """The path of every value in `tree`, its root first."""
    found = [path]
    if isinstance(tree, dict):
        for key, value in tree.items():
            found += places(value, (*path, key))
    elif isinstance(tree, list):
        for index, value in enumerate(tree[:8]):
            found += places(value, (*path, index))
    return found


@st.composite
def trees(draw: st.DrawFn, original: Any, most: int = 3) -> Any:
    """`original` with a few values replaced, removed, renamed, added or moved."""
    tree = copy.deepcopy(original)
    for _ in range(draw(st.integers(1, most))):
        known = places(tree)
        path = draw(st.sampled_from(known))
        if not path:
            if draw(st.integers(0, 9)) == 0:
                return draw(VALUES)
            continue
        holder = _at(tree, path[:-1])
        what = draw(st.sampled_from(["replace", "replace", "remove", "rename", "add", "move"]))
        if what == "replace":
            holder[path[-1]] = draw(VALUES)
        elif what == "remove":
            del holder[path[-1]]
        elif what == "move":
            holder[path[-1]] = copy.deepcopy(_at(tree, draw(st.sampled_from(known))))
        elif isinstance(holder, dict):
            key = draw(st.sampled_from(TEXTS) | st.text(max_size=8))
            holder[key] = holder.pop(path[-1]) if what == "rename" else draw(VALUES)
        else:
            holder.append(draw(VALUES))
    return tree


def _at(tree: Any, path: Path) -> Any:
    for step in path:
        tree = tree[step]
    return tree


@st.composite
def json_texts(draw: st.DrawFn, original: Any) -> bytes:
    """`original` as JSON, changed as a tree, as text, or replaced by noise."""
    how = draw(st.integers(0, 9))
    if how == 0:
        return draw(st.sampled_from(JSON_NOISE) | st.binary(max_size=60))
    tree = original if how == 1 else draw(trees(original))
    text = _dumped(tree)
    return draw(mutated(text)) if how <= 3 else text


def _dumped(tree: Any) -> bytes:
    return json.dumps(tree).encode()


JSON_NOISE = [
    *(b"", b" ", b"null", b"[]", b"{}", b"0", b'"a"', b"{", b"[" * 900, b"[" * 100_000),
    *(b'{"a":' * 900 + b"1" + b"}" * 900, b'{"a":' * 20_000, b"9" * 5000, b"1e999", b"-"),
    *(b"\xff\xfe{\x00}\x00", b"\xef\xbb\xbf{}", b'"\xff"', b"\x00", b'{"a":1,"a":2}', b"NaN"),
]


class Field(NamedTuple):
    """A number in a file's header."""

    offset: int
    size: int
    order: str = "little"


EXTREMES = [
    *(0, 1, 2, 0x7F, 0x80, 0xFF, 0x100, 0x7FFF, 0x8000, 0xFFFF, 0x10000, 0x7FFFFFFF),
    *(0x80000000, 0xFFFFFFFF, 2**63 - 1, 2**63, 2**64 - 1),
]


@st.composite
def mutated(
    draw: st.DrawFn,
    original: bytes,
    fields: Sequence[Field] = (),
    repair: Callable[[bytes], bytes] | None = None,
    pieces: Sequence[bytes] = (),
) -> bytes:
    """`original` with a few edits; `repair` makes checksums right again, in half of the cases.

    Args:
        draw: Hypothesis's.
        original: valid bytes.
        fields: numbers that are worth setting to extreme values.
        repair: makes checksums fit again.
        pieces: what is worth inserting.
    """
    content = bytearray(original)
    kinds = ["flip", "flip", "cut", "end", "repeat", "insert", *["field"] * (8 if fields else 0)]
    for _ in range(draw(st.integers(1, 4))):
        kind = draw(st.sampled_from(kinds))
        if kind == "field":
            field = draw(st.sampled_from(fields))
            value = draw(st.sampled_from(EXTREMES) | st.integers(0, 2 ** (8 * field.size) - 1))
            if field.offset + field.size <= len(content):
                number = value % 2 ** (8 * field.size)
                content[field.offset : field.offset + field.size] = number.to_bytes(
                    field.size,
                    field.order,  # type: ignore[arg-type]
                )
            continue
        at = draw(st.integers(0, max(0, len(content) - 1)))
        if kind == "flip" and content:
            content[at] ^= draw(st.integers(1, 255))
        elif kind == "cut":
            del content[at : at + draw(st.integers(1, 64))]
        elif kind == "end":
            del content[at:]
        elif kind == "repeat":
            content[at:at] = content[at : at + draw(st.integers(1, 64))]
        elif kind == "insert":
            extra = st.binary(min_size=1, max_size=8)
            content[at:at] = draw(extra | st.sampled_from(pieces) if pieces else extra)
    raw = bytes(content)
    return repair(raw) if repair is not None and draw(st.booleans()) else raw
