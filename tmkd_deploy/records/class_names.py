"""What the names of classes must be for people and for a text encoder to tell the classes apart."""

from __future__ import annotations

from collections.abc import Sequence


def words(name: str) -> tuple[str, ...]:
    """A class name as the words that prompts make of it: 'a_b', 'a-b' and 'a b' are the same."""
    return tuple(name.replace("_", " ").replace("-", " ").split())


def fault(names: Sequence[str]) -> str | None:
    """A sentence about the first of `names` that cannot stand for a class; None if all can."""
    first_with: dict[tuple[str, ...], str] = {}
    for label, name in enumerate(names):
        named = words(name)
        if not named:
            return f"The name of class {label} is {name!r}, which has no word in it."
        if named in first_with:
            return _same(first_with[named], name)
        first_with[named] = name
    return None


def _same(one: str, other: str) -> str:
    if one == other:
        return f"Two classes have the same name, {one!r}."
    return f"The classes {one!r} and {other!r} have the same name to a text encoder."
