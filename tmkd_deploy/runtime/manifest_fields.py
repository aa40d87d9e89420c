"""Typed access to the fields of a manifest, which is untrusted."""

from __future__ import annotations

from typing import Any, TypeVar

T = TypeVar("T")


class UnfitError(ValueError):
    """The bundle is unusable; the message completes "The bundle cannot be used: ..."."""


def take(document: dict[str, Any], key: str, kind: type[T]) -> T:
    """The value of `key`, checked to be of type `kind`; a whole number is a float as well.

    Raises:
        UnfitError: it is missing or of another type.
    """
    value = document.get(key)
    if kind is float and type(value) is int:
        value = float(value)
    # bool is a subclass of int, but not a number in a manifest
    if type(value) is not kind:
        raise UnfitError(f"its manifest's {key!r} is missing or invalid")
    return value


def optional(document: dict[str, Any], key: str, kind: type[T]) -> T | None:
    """As `take`, but None where the value is null or missing."""
    return None if document.get(key) is None else take(document, key, kind)


def require(holds: bool, key: str) -> None:
    """Refuse the manifest over `key` unless `holds`."""
    if not holds:
        raise UnfitError(f"its manifest's {key!r} is missing or invalid")
