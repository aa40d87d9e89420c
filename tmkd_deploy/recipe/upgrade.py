"""Replace a recipe's old keys in its own text; every other character stays as it is."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tmkd_deploy.artifacts import write_text
from tmkd_deploy.errors import RequestError
from tmkd_deploy.recipe import load, renamed_keys
from tmkd_deploy.recipe.renamed_keys import Rename
from tmkd_deploy.yaml_document import Span, dotted, parse


@dataclass(frozen=True)
class Change:
    """An old key that was replaced, and its line."""

    line: int
    rename: Rename

    def to_json(self) -> dict[str, int | str]:
        """The line and both keys."""
        return {"line": self.line, "old": dotted(self.rename.old), "new": dotted(self.rename.new)}


@dataclass(frozen=True)
class Upgrade:
    """The new text of a recipe, and what is different in it."""

    text: str
    changes: list[Change]


def upgrade(path: Path) -> Upgrade:
    """The recipe at `path` with its old keys replaced; the file itself is left untouched.

    Raises:
        RequestError: the recipe is not valid, or a key cannot be replaced on its own.
    """
    text = load.read(path)
    before = load.from_text(text, path, warn=_ignore)
    document = parse(text, str(path))
    renames = renamed_keys.translate(document.value, (), str)[1]
    # An alias repeats a key without repeating its text.
    once = {document.spans[each.old].key: each for each in renames}
    new_text = text
    for start, end, replacement in sorted(
        {edit for each in once.values() for edit in _edits(text, document.spans[each.old], each)},
        reverse=True,
    ):
        new_text = new_text[:start] + replacement + new_text[end:]
    warnings: list[str] = []
    after = None
    with contextlib.suppress(RequestError):
        after = load.from_text(new_text, path, warn=warnings.append)
    if after != before or warnings:
        raise RequestError(
            "The old keys of this recipe cannot be replaced without changing its meaning; one of "
            "them is probably an anchor that is also used elsewhere.",
            where=str(path),
            advice="Rename them by hand; tmkd-deploy recipe check lists them.",
        )
    return Upgrade(new_text, [Change(document.lines[each.old], each) for each in once.values()])


def write(path: Path, text: str) -> None:
    """Replace the content of `path` with `text` in one step; a link and the file's mode stay."""
    file = path.resolve()
    mode = file.stat().st_mode
    write_text(file, text)
    file.chmod(mode)


def _edits(text: str, span: Span, rename: Rename) -> Iterator[tuple[int, int, str]]:
    """Start, end and replacement of the pieces of `text` that `rename` changes."""
    yield (*span.key, _in_place(text[slice(*span.key)], str(rename.old[-1]), str(rename.new[-1])))
    if rename.changes_value:
        value = text[slice(*span.value)]
        yield (*span.value, _in_place(value, str(rename.old_value), str(rename.new_value)))


def _in_place(token: str, old: str, new: str) -> str:
    """`token` with `new` for `old`; quotes, and an anchor or tag in front, are kept."""
    before, found, after = token.rpartition(old)
    return f"{before}{new}{after}" if found else new


def _ignore(message: str) -> None:
    pass
