"""`--set KEY=VALUE`: replace one value of the recipe on the command line."""

from __future__ import annotations

from typing import Any

from tmkd_deploy.errors import RequestError
from tmkd_deploy.recipe import renamed_keys
from tmkd_deploy.recipe.renamed_keys import Rename
from tmkd_deploy.recipe.schema import Recipe
from tmkd_deploy.suggestions import did_you_mean
from tmkd_deploy.targets import catalog
from tmkd_deploy.yaml_document import KeyPath, dotted, parse


def apply(recipe: dict[str, Any], override: str) -> tuple[KeyPath, list[Rename]]:
    """Apply `override` to `recipe` in place; return the path that was set, and old keys in it.

    Dots separate keys; an item of a list is given by its index from 0, a target also by its name.
    The value is YAML.

    Raises:
        RequestError: there is no such key, or the value is not valid YAML.
    """
    where = f"--set {override}"
    key, equals, text = override.partition("=")
    if not equals or not key.strip():
        raise RequestError(
            "An override needs a key and a value.",
            where=where,
            advice="Write it like --set distill.epochs=3",
        )
    value = parse(text, where).value
    *parents, last = key.strip().split(".")
    path: KeyPath = ()
    holder: Any = recipe
    renames = []
    for part in parents:
        step = _step(holder, path, part, where)
        if renamed := renamed_keys.rename(path, part, None):
            renames.append(renamed)
        path = (*path, step)
        if isinstance(holder, dict) and holder.get(step) is None:
            holder[step] = {}
        holder = holder[step]
    step = _step(holder, path, last, where)
    if renamed := renamed_keys.rename(path, last, value):
        renames.append(renamed)
        value = renamed.new_value
    holder[step], inner = renamed_keys.translate(value, (*path, step), lambda _: where)
    return (*path, step), [*renames, *inner]


def _step(holder: Any, path: KeyPath, part: str, where: str) -> str | int:
    if isinstance(holder, list):
        return _item(holder, path, part, where)
    if not isinstance(holder, dict):
        raise RequestError(
            f"{dotted(path)} is a single value and has no key {part!r}.",
            where=where,
            advice=f"Set it as a whole: --set {dotted(path)}=VALUE",
        )
    part = renamed_keys.current(path, part)
    known = Recipe.keys_at(path)
    if known is not None and part not in known:
        place = dotted(path) or "the recipe"
        raise RequestError(
            f'There is no key "{part}" in {place}.',
            where=where,
            advice=did_you_mean(part, known),
        )
    return part


def _item(items: list[Any], path: KeyPath, part: str, where: str) -> int:
    if part.isdecimal() and int(part) < len(items):
        return int(part)
    names = [str(item["target"]) for item in items if isinstance(item, dict) and "target" in item]
    for index, item in enumerate(items):
        if isinstance(item, dict) and catalog.canonical(str(item.get("target"))) == (
            catalog.canonical(part)
        ):
            return index
    raise RequestError(
        f"{dotted(path)} has no entry {part!r}; it has {len(items)}, numbered from 0.",
        where=where,
        advice=did_you_mean(part, names) if names else "Set the list as a whole.",
    )
