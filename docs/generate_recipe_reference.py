"""Write the tables of docs/reference/recipe.md from the recipe's schema and renamed keys.

python docs/generate_recipe_reference.py
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tmkd_deploy.models.model_kwargs import GROUPS
from tmkd_deploy.recipe.renamed_keys import RENAMED, RENAMED_VALUES
from tmkd_deploy.recipe.schema import json_schema

PAGE = Path(__file__).parent / "reference" / "recipe.md"
BEGIN, END = "<!-- reference:begin -->", "<!-- reference:end -->"


def render() -> str:
    """The tables of every section, in the order of the schema, then the other tables."""
    schema = json_schema()
    lines = [*_section("", schema, schema["$defs"]), *_model_keywords(), *_renamed_keys()]
    return "\n".join(lines).rstrip() + "\n"


def refreshed(page: str) -> str:
    """`page` with new tables between its markers."""
    before, _, rest = page.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n{render()}{END}{after}"


def _model_keywords() -> Iterator[str]:
    yield "## Model keywords\n"
    yield (
        "`student.model_kwargs` takes these keywords and no others; which of them a model has, its "
        "family decides. Keywords that name files, addresses or weights are refused.\n"
    )
    yield "| Keywords | Value |\n|---|---|"
    for group in GROUPS:
        names = ", ".join(f"`{keyword}`" for keyword in group.keywords)
        values = ", ".join(f"`{value}`" for value in group.names) or group.expected
        yield f"| {names} | {values} |"
    yield ""


def _renamed_keys() -> Iterator[str]:
    yield "## Renamed keys\n"
    yield (
        "The old names are still accepted in this release, each with a warning, and will be "
        "removed in the next. `tmkd-deploy recipe upgrade FILE` replaces them and changes nothing "
        "else in the file; with `--check` it only lists them, and exits with 1 if there are any.\n"
    )
    yield "| Old key | New key |\n|---|---|"
    for old, new in RENAMED.items():
        values = "".join(
            f" (value `{before}` → `{after}`)"
            for before, after in RENAMED_VALUES.get(old, {}).items()
        )
        yield f"| `{old}` | `{new}`{values} |"


def _section(path: str, schema: dict[str, Any], sections: dict[str, Any]) -> Iterator[str]:
    yield f"### {f'`{path}`' if path else 'The top level'}\n"
    yield f"{_one_line(schema['description'])}\n"
    yield "| Key | Type | Default | Meaning |\n|---|---|---|---|"
    inner = []
    for key, field in schema["properties"].items():
        section = _section_of(field, sections)
        if section:
            inner.append((f"{path}.{key}".removeprefix(".") + section[0], section[1]))
        cells = [
            f"`{key}`",
            f"{'list of sections' if section[0] else 'section'}" if section else _type(field),
            _default(key, field, schema, is_section=section is not None),
            _one_line(_description(field, sections)),
        ]
        yield f"| {' | '.join(cells)} |"
    yield ""
    for place, section_schema in inner:
        yield from _section(place, section_schema, sections)


def _description(field: dict[str, Any], sections: dict[str, Any]) -> str:
    """A key's own description; pydantic leaves out one that equals the section's."""
    section = _section_of(field, sections)
    described = field if section is None else {**section[1], **field}
    return str(described["description"])


def _section_of(
    field: dict[str, Any], sections: dict[str, Any]
) -> tuple[str, dict[str, Any]] | None:
    """The section behind a key, with "[]" where the key holds a list of them."""
    # pydantic before 2.9 wraps a reference that has a description in "allOf"
    for each in (field, *field.get("anyOf", ()), *field.get("allOf", ())):
        if "$ref" in each:
            return "", sections[each["$ref"].rpartition("/")[2]]
    if "$ref" in field.get("items", {}):
        return "[]", sections[field["items"]["$ref"].rpartition("/")[2]]
    return None


def _type(field: dict[str, Any]) -> str:
    if "anyOf" in field:
        kinds = [_type(each) for each in field["anyOf"] if each.get("type") != "null"]
        return " or ".join(kinds)
    if "enum" in field or "const" in field:
        return ", ".join(f"`{value}`" for value in field.get("enum", [field.get("const")]))
    kind = field["type"]
    if kind == "array":
        exactly = f"exactly {field['minItems']}: " if "maxItems" in field else ""
        return f"list of {exactly}{_type(field['items'])}"
    if kind == "object":
        return "keys with values"
    if field.get("format") == "path":
        return "path"
    plain = {"string": "text", "integer": "whole number", "number": "number"}
    return plain.get(kind, "true or false") + _limits(field)


def _limits(field: dict[str, Any]) -> str:
    words = {
        "minimum": "at least",
        "exclusiveMinimum": "above",
        "maximum": "at most",
        "exclusiveMaximum": "below",
    }
    limits = [f"{word} {_number(field[name])}" for name, word in words.items() if name in field]
    return f", {', '.join(limits)}" if limits else ""


def _number(value: float) -> str:
    return str(value) if isinstance(value, int) else f"{value:g}"


def _default(key: str, field: dict[str, Any], schema: dict[str, Any], *, is_section: bool) -> str:
    if key in schema.get("required", []):
        return "**required**"
    value = field.get("default")
    if is_section or value is None:
        return "–"
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    if isinstance(value, list):
        return ", ".join(f"`{item}`" for item in value)
    return f"`{_number(value) if isinstance(value, float) else value}`"


def _one_line(text: str) -> str:
    return " ".join(text.split()).replace("<", "&lt;")


if __name__ == "__main__":
    PAGE.write_text(refreshed(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
