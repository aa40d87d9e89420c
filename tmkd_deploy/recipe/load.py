"""Load a checked `Recipe` from a file and the overrides of one call."""

from __future__ import annotations

import json
import shlex
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from tmkd_deploy.errors import RequestError
from tmkd_deploy.models.onnx_name import is_onnx_file
from tmkd_deploy.models.packaged_weights import PACKAGES
from tmkd_deploy.printable import printable
from tmkd_deploy.recipe import override, renamed_keys, validation_errors
from tmkd_deploy.recipe.renamed_keys import Rename
from tmkd_deploy.recipe.schema import Recipe
from tmkd_deploy.recipe.validation_errors import Problem
from tmkd_deploy.runtime.regular_file import open_regular
from tmkd_deploy.suggestions import did_you_mean
from tmkd_deploy.targets import catalog
from tmkd_deploy.yaml_document import KeyPath, dotted, parse

BYTES_AT_MOST = 1 << 20

PATHS: tuple[KeyPath, ...] = (
    ("data", "path"),
    ("data", "train"),
    ("data", "val"),
    ("data", "test"),
    ("teacher", "text", "checkpoint"),
    ("teacher", "text", "embeddings"),
)
WEIGHTS: tuple[KeyPath, ...] = (("teacher", "visual", "weights"), ("student", "weights"))
MODELS: tuple[KeyPath, ...] = (("student", "model"),)
NAMED_WEIGHTS = ("none", "auto", "pretrained", *PACKAGES)


def load(
    path: Path, overrides: Sequence[str] = (), warn: Callable[[str], None] | None = None
) -> Recipe:
    """Read the recipe at `path`, apply `overrides` ("distill.epochs=3") and check it.

    Relative paths, those of overrides included, start at the recipe's folder and come back
    absolute. Aliases of targets are kept. `warn` gets a sentence for each key that is given under
    an old name; without it, they are Python warnings.

    Raises:
        RequestError: the file cannot be read or is not valid; every problem is listed with its
            line and key.
    """
    return from_text(read(path), path, overrides, warn)


def from_text(
    text: str,
    path: Path,
    overrides: Sequence[str] = (),
    warn: Callable[[str], None] | None = None,
) -> Recipe:
    """The same for `text`, taken for the content of `path`."""
    document = parse(text, str(path))
    if not isinstance(document.value, dict):
        raise RequestError(
            "The recipe is empty." if document.value is None else "The recipe has no keys.",
            where=str(path),
            advice="Write a new one with: tmkd-deploy recipe init NEW.yaml",
        )
    places: dict[KeyPath, str] = {key: f"{path}:{line}" for key, line in document.lines.items()}

    def place(key: KeyPath) -> str:
        return _place(key, places, str(path))

    values, renames = renamed_keys.translate(document.value, (), place)
    command = f"tmkd-deploy recipe upgrade {shlex.quote(str(path))}"
    messages = [f"{places[each.old]}: {each.sentence()} Run: {command}" for each in renames]
    places = _moved(places, renames)
    for each in overrides:
        changed, renames = override.apply(values, each)
        messages += [f"--set {each}: {rename.sentence()}" for rename in renames]
        places = {key: there for key, there in places.items() if key[: len(changed)] != changed}
        places[changed] = f"--set {each}"
    for message in dict.fromkeys(messages):
        (warn or _warn)(message)

    found = [*_name_problems(values), *_make_paths_absolute(values, path.resolve().parent)]
    recipe: Recipe | None = None
    try:
        # Strict JSON: a quoted number is text and true is no number, but a path may be text.
        recipe = Recipe.model_validate_json(json.dumps(values), strict=True)
    except ValidationError as error:
        found = [*validation_errors.from_validation(error, _paths_of(values)), *found]
    validation_errors.raise_for(found, str(path), place)
    assert recipe is not None  # a failed validation has at least one problem
    return recipe


def read(path: Path) -> str:
    """The text of the recipe at `path`, with line ends and byte order mark as they are.

    Raises:
        RequestError: it cannot be read, is too large, or is not UTF-8.
    """
    if path.is_dir():
        raise RequestError(
            "This is a folder, not a recipe.",
            where=str(path),
            advice=f"Name the file in it, such as {path / 'recipe.yaml'}",
        )
    try:
        with open_regular(path) as stream:
            content = stream.read(BYTES_AT_MOST + 1)
    except FileNotFoundError as error:
        beside = [str(other) for other in sorted(path.parent.glob("*.y*ml"))]
        suggestion = f"{did_you_mean(str(path), beside)} " if beside else ""
        raise RequestError(
            "There is no such recipe.",
            where=str(path),
            advice=f"{suggestion}Write a new one with: tmkd-deploy recipe init",
        ) from error
    except OSError as error:
        raise RequestError(
            f"The recipe cannot be read: {error.strerror}.",
            where=str(path),
            advice="Check its permissions, or name another file.",
        ) from error
    if len(content) > BYTES_AT_MOST:
        raise RequestError(
            "The recipe is larger than 1 MiB.",
            where=str(path),
            advice="Name a recipe, not a data file.",
        )
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError as error:
        raise RequestError(
            "The recipe is not UTF-8 text.",
            where=str(path),
            advice="Save it as UTF-8, or name the right file.",
        ) from error


def _warn(message: str) -> None:
    warnings.warn(message, FutureWarning, stacklevel=4)


def _moved(places: dict[KeyPath, str], renames: list[Rename]) -> dict[KeyPath, str]:
    """`places` under the current names of their keys."""
    new_names = {each.old: each.new for each in renames}

    def moved(key: KeyPath) -> KeyPath:
        for length in range(1, len(key) + 1):
            if key[:length] in new_names:
                return new_names[key[:length]] + key[length:]
        return key

    return {moved(key): there for key, there in places.items()} if renames else places


def _place(key: KeyPath, places: dict[KeyPath, str], source: str) -> str:
    for length in range(len(key), -1, -1):
        if key[:length] in places:
            return f"{places[key[:length]]} ({dotted(key)})"
    return f"{source} ({dotted(key)})" if key else source


def _paths_of(value: Any, path: KeyPath = ()) -> set[KeyPath]:
    entries: list[tuple[str | int, Any]] = []
    if isinstance(value, dict):
        entries = list(value.items())
    elif isinstance(value, list):
        entries = list(enumerate(value))
    return {path}.union(*(_paths_of(inner, (*path, key)) for key, inner in entries))


def _name_problems(values: dict[str, Any]) -> list[Problem]:
    """Targets and weights whose names are not known."""
    found = []
    targets = values.get("targets")
    for index, entry in enumerate(targets if isinstance(targets, list) else []):
        name = entry.get("target") if isinstance(entry, dict) else None
        if not isinstance(name, str):
            continue
        known = catalog.names()
        if catalog.canonical(name) not in known:
            advice = did_you_mean(name, [*known, *catalog.aliases()])
            place: KeyPath = ("targets", index, "target")
            found.append(Problem(place, f'There is no target "{name}".', advice))
    for path in WEIGHTS:
        name = _at(values, path)
        if isinstance(name, str) and _is_a_name(name) and name not in NAMED_WEIGHTS:
            problem = f'There are no weights called "{name}".'
            advice = f"{did_you_mean(name, NAMED_WEIGHTS)} Give a file with its suffix or folder."
            found.append(Problem(path, problem, advice))
    return found


def _is_a_name(weights: str) -> bool:
    return weights.startswith("package:") or not set("/\\.") & set(weights)


def _make_paths_absolute(value: Any, folder: Path) -> Iterator[Problem]:
    """Change paths in place; yield a problem for each that cannot be one."""
    for path in (*PATHS, *WEIGHTS, *MODELS):
        given = _at(value, path)
        if not isinstance(given, str) or (path in WEIGHTS and _is_a_name(given)):
            continue
        if path in MODELS and not is_onnx_file(given):
            continue
        try:
            absolute = str((folder / Path(given).expanduser()).resolve())
        except RuntimeError:  # also raised for links in a circle
            problem = f'The path "{printable(given, 60)}" leads nowhere.'
            yield Problem(path, problem, "Check its links and the user name after ~.")
        except (ValueError, OSError):
            problem = f'"{printable(given, 60)}" cannot be a path.'
            yield Problem(path, problem, "Remove null characters, or shorten it.")
        else:
            _at(value, path[:-1])[path[-1]] = absolute


def _at(value: Any, path: KeyPath) -> Any:
    for part in path:
        if not isinstance(value, dict):
            return None
        value = value.get(str(part))
    return value
