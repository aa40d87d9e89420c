"""Check that class names can be shown, are distinct to a text encoder, and exist."""

from __future__ import annotations

import re
from collections.abc import Sequence

from tmkd_deploy.errors import RequestError
from tmkd_deploy.printable import printable
from tmkd_deploy.suggestions import did_you_mean

# control codes, overrides of the reading direction, and lone surrogates
_FORBIDDEN = re.compile(r"[\x00-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


def words(name: str) -> tuple[str, ...]:
    """The words of a class name in prompts; 'a_b', 'a-b' and 'a b' are equal."""
    return tuple(name.replace("_", " ").replace("-", " ").split())


def class_name_problem(names: Sequence[str]) -> str | None:
    """A sentence on the first unusable class name; None if all are usable."""
    first_with: dict[tuple[str, ...], str] = {}
    for label, name in enumerate(names):
        if found := _FORBIDDEN.search(name):
            return (
                f'The name of class {label}, "{printable(name, 60)}", contains the character '
                f"{printable(found[0])}, which cannot be shown."
            )
        name_words = words(name)
        if not name_words:
            return f"The name of class {label} is {name!r}, which contains no word."
        if name_words in first_with:
            return _duplicate(first_with[name_words], name)
        first_with[name_words] = name
    return None


def refuse_unknown_class(name: str, class_names: Sequence[str], where: str) -> None:
    """Refuse a class of the recipe that the data do not have; `where` is its key.

    Raises:
        RequestError: there is no such class.
    """
    if name not in class_names:
        raise RequestError(
            f"The data have no class {printable(name, 60)!r}.",
            where=where,
            advice=did_you_mean(name, class_names),
        )


def _duplicate(one: str, other: str) -> str:
    if one == other:
        return f"Two classes have the same name, {one!r}."
    return f"The class names {one!r} and {other!r} are the same to a text encoder."
