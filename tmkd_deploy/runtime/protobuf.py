"""Protocol buffers in wire format, read without a library, which devices need not have.

Source: https://protobuf.dev/programming-guides/encoding/
"""

from __future__ import annotations

from typing import Iterator

_VARINT, _EIGHT_BYTES, _BYTES, _FOUR_BYTES = 0, 1, 2, 5
_HIGHEST_FIELD = (1 << 29) - 1


def fields(message: memoryview) -> Iterator[tuple[int, memoryview | int]]:
    """The number and content of each field of a message, without a copy.

    The content is a view of the field's bytes, or a number. Groups, which are long deprecated, are
    refused: a parser that knows them would see other fields.

    Raises:
        ValueError: these bytes are not a protocol buffer.
    """
    at, end = 0, len(message)
    while at < end:
        key, at = _varint(message, at)
        number, kind = key >> 3, key & 7
        if not 1 <= number <= _HIGHEST_FIELD:
            raise ValueError("a field has no valid number")
        if kind == _VARINT:
            value, at = _varint(message, at)
            yield number, value
            continue
        if kind == _BYTES:
            length, at = _varint(message, at)
        elif kind in (_EIGHT_BYTES, _FOUR_BYTES):
            length = 8 if kind == _EIGHT_BYTES else 4
        else:
            raise ValueError("a field has an unknown type")
        if at + length > end:
            raise ValueError("a field is longer than its message")
        yield number, message[at : at + length]
        at += length


def _varint(message: memoryview, at: int) -> tuple[int, int]:
    """The number that starts at `at`, seven bits per byte, and the offset of its end."""
    value = shift = 0
    try:
        while shift < 70:
            byte = message[at]
            at += 1
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                return value, at
            shift += 7
    except IndexError:
        raise ValueError("a number is cut short") from None
    raise ValueError("a number is too long")
