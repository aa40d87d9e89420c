"""The problems of a recipe, each with its place and a remedy."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from tmkd_deploy.errors import RequestError
from tmkd_deploy.models.model_kwargs import unknown_keyword
from tmkd_deploy.recipe.schema import Recipe
from tmkd_deploy.suggestions import did_you_mean
from tmkd_deploy.yaml_document import KeyPath, dotted

LISTED_AT_MOST = 20


@dataclass(frozen=True)
class Problem:
    """One problem of the value at `path`, and what to do about it."""

    path: KeyPath
    problem: str
    advice: str


def from_validation(error: ValidationError, known_paths: set[KeyPath]) -> list[Problem]:
    """One problem for each value that does not fit the schema, up to `LISTED_AT_MOST` values.

    `known_paths` are the paths that exist in the recipe. Pydantic's own paths may go deeper, into
    the branches of a union, whose errors are merged into one.
    """
    by_place: dict[KeyPath, list[ErrorDetails]] = {}
    for details in error.errors():
        path = _existing(details["loc"], known_paths)
        by_place.setdefault(path, []).append(details)
    problems = []
    for path, found in itertools.islice(by_place.items(), LISTED_AT_MOST):
        if len(found) > 1 and all(details["type"] != "missing" for details in found):
            problems.append(_several_expected(path, found))
        else:
            problems.extend(_one(path, details) for details in found)
    return problems


def raise_for(problems: list[Problem], source: str, place: Callable[[KeyPath], str]) -> None:
    """Raise one error that lists all `problems`; `place` gives the file and line of a path."""
    if not problems:
        return
    if len(problems) == 1:
        only = problems[0]
        raise RequestError(only.problem, where=place(only.path), advice=only.advice)
    lines = [f"  {place(each.path)}: {each.problem} {each.advice}" for each in problems]
    or_more = " or more" if len(problems) >= LISTED_AT_MOST else ""
    raise RequestError(
        "\n".join([f"The recipe has {len(problems)}{or_more} problems.", *lines]),
        where=source,
        advice="Fix them, then run: tmkd-deploy recipe check",
    )


def _existing(location: tuple[str | int, ...], known_paths: set[KeyPath]) -> KeyPath:
    path = location
    while path and path not in known_paths:
        path = path[:-1]
    return path


def _one(path: KeyPath, details: ErrorDetails) -> Problem:
    kind = details["type"]
    key = str(details["loc"][-1]) if details["loc"] else ""
    if kind == "extra_forbidden":
        parent = path[:-1]
        section = dotted(parent) or "the recipe"
        return Problem(
            path,
            f'There is no key "{key}" in {section}.',
            did_you_mean(key, Recipe.keys_at(parent) or []),
        )
    if kind == "missing":
        return Problem(
            path, f'The key "{key}" is missing.', "Add it; see docs/reference/recipe.md."
        )
    if kind == "unknown_keyword":
        return Problem(path, *unknown_keyword(str(path[-1])))
    if kind == "value_error":
        reason = str(details["ctx"]["error"])
        return Problem(
            path, f"This is not valid: {reason}.", "See this section in docs/reference/recipe.md."
        )
    return Problem(
        path,
        f"Expected {_expected(details)}, got {_shown(details['input'])}.",
        _alternative(details),
    )


def _several_expected(path: KeyPath, found: list[ErrorDetails]) -> Problem:
    expected = list(dict.fromkeys(_expected(details) for details in found))
    return Problem(
        path,
        f"Expected {' or '.join(expected)}, got {_shown(found[0]['input'])}.",
        "Change the value.",
    )


EXPECTED = {
    "int_type": "a whole number",
    "int_parsing": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "bool_type": "true or false",
    "string_type": "text (put it in quotes if it looks like a number)",
    "path_type": "a path as text",
    "list_type": "a list",
    "dict_type": "keys with values",
    "model_type": "a section of keys with values",
    "literal_error": "{expected}",
    "greater_than": "a number above {gt}",
    "greater_than_equal": "a number of at least {ge}",
    "less_than": "a number below {lt}",
    "less_than_equal": "a number of at most {le}",
    "too_short": "at least {min_length} entries",
    "too_long": "at most {max_length} entries",
    "string_pattern_mismatch": "letters, digits, dots, dashes and underscores, at most 64 in all",
}


def _expected(details: ErrorDetails) -> str:
    template = EXPECTED.get(details["type"])
    if template is None:
        return details["msg"].removeprefix("Input should be ")
    return template.format(**details.get("ctx", {}))


def _alternative(details: ErrorDetails) -> str:
    given = details["input"]
    if details["type"] == "literal_error" and isinstance(given, str):
        expected = str(details["ctx"]["expected"]).replace(" or ", ", ")
        return did_you_mean(given, [option.strip("'") for option in expected.split(", ")])
    return "Change the value."


def _shown(given: Any) -> str:
    if given is None:
        return "nothing"
    if isinstance(given, bool):
        return str(given).lower()
    text = repr(given)
    return text if len(text) <= 60 else f"{text[:57]}..."
