"""Labels in a table: a CSV, JSON or JSON-lines file with one row per image."""

from __future__ import annotations

import stat
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from tmkd_deploy.data.samples import EncodedDataset, ImageFile
from tmkd_deploy.data.split_names import WRITTEN, Split, split_named
from tmkd_deploy.data.table_rows import Row, read_rows
from tmkd_deploy.errors import DataError
from tmkd_deploy.recipe.schema import Data

_COLUMN = "column:"


@dataclass(frozen=True)
class _Columns:
    """The names of the columns; None for one that the table does not have."""

    image: str
    label: str
    split: str | None
    group: str | None


def files(path: Path, spec: Data) -> list[Path]:
    """The table and the images that it names.

    Raises:
        DataError: the table cannot be read, or an image is missing.
    """
    rows = read_rows(path)
    names = _images(path, rows, _columns(path, rows, spec).image)
    return [path, *(path.parent / name for name in names)]


def read_table(path: Path, class_names: list[str] | None, spec: Data) -> EncodedDataset:
    """The images of the table at `path`, in its order.

    Labels are names, or numbers of `class_names`. Classes without given names are sorted, as
    numbers if all are.

    Raises:
        DataError: the table cannot be read, lacks a column or value, or names an image twice, one
            that is missing, or one outside its folder.
    """
    rows = read_rows(path)
    columns = _columns(path, rows, spec)
    keys = _images(path, rows, columns.image)
    names, labels = _labels(path, rows, columns.label, class_names)
    return EncodedDataset(
        origin=f"table {path}",
        class_names=names,
        keys=keys,
        labels=labels,
        strata=[""] * len(keys),
        images=[ImageFile(str(path.parent / key)) for key in keys],
        splits=_splits(path, rows, columns.split) if columns.split else [],
        groups=[_text(path, row, columns.group) for row in rows] if columns.group else [],
    )


def _columns(path: Path, rows: Sequence[Row], spec: Data) -> _Columns:
    present = rows[0].values if rows else {}
    wanted = spec.columns
    by_column = spec.group_by and spec.group_by.startswith(_COLUMN)
    group = spec.group_by.removeprefix(_COLUMN) if spec.group_by and by_column else wanted.group

    def optional(given: str | None, default: str) -> str | None:
        return given or (default if default in present else None)

    columns = _Columns(
        wanted.image,
        wanted.label,
        optional(wanted.split, "split"),
        # groups by folder or file name, if the recipe asks for them
        None if spec.group_by and not by_column else optional(group, "group"),
    )
    for name in (columns.image, columns.label, columns.split, columns.group):
        if rows and name is not None and name not in present:
            raise DataError(
                f"There is no column {name!r}; the columns are: {', '.join(map(repr, present))}.",
                where=rows[0].where(path),
                advice="Rename the column, or give its name in 'data.columns'.",
            )
    return columns


def _text(path: Path, row: Row, column: str) -> str:
    """The text or whole number in `column`."""
    value = row.values.get(column)
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    if isinstance(value, str) and value.strip() and _can_be_written(value):
        return value.strip()
    raise DataError(
        f"The column {column!r} holds {'nothing' if value in (None, '') else repr(value)[:60]}.",
        where=row.where(path),
        advice="Give every image one text or whole number there.",
    )


def _can_be_written(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:  # JSON can hold halves of characters
        return False
    return True


def _images(path: Path, rows: Sequence[Row], column: str) -> list[str]:
    line_of: dict[str, int] = {}
    for row in rows:
        name = _text(path, row, column)
        problem = _problem(path.parent, name)
        if name in line_of:
            problem = f"is also in line {line_of[name]}"
        if problem:
            raise DataError(
                f"The image {name!r} {problem}.",
                where=row.where(path),
                advice="Give each image once, with its path below the folder of this table.",
            )
        line_of[name] = row.line
    return list(line_of)


def _problem(folder: Path, name: str) -> str | None:
    """What is wrong with an image's path; None if it is a regular file below `folder`."""
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or "\0" in name:
        return "is not below the folder of this table"
    try:
        mode = (folder / name).stat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        return "does not exist"
    except OSError as error:
        return f"cannot be read: {error.strerror}"
    return None if stat.S_ISREG(mode) else "is not a regular file"


def _labels(
    path: Path, rows: Sequence[Row], column: str, class_names: list[str] | None
) -> tuple[list[str], list[int]]:
    written = [_text(path, row, column) for row in rows]
    distinct = set(written)
    numbers = all(label.isascii() and label.isdecimal() and len(label) < 10 for label in distinct)
    if class_names is None:
        class_names = sorted(distinct, key=lambda label: (int(label), label) if numbers else label)
    elif numbers and not distinct <= set(class_names):
        return class_names, [int(label) for label in written]
    index = {name: label for label, name in enumerate(class_names)}
    for row, label in zip(rows, written, strict=True):
        if label not in index:
            raise DataError(
                f"The label {label!r} is not one of 'data.class_names'.",
                where=row.where(path),
                advice="Correct the label, or list every class in 'data.class_names'.",
            )
    return class_names, [index[label] for label in written]


def _splits(path: Path, rows: Sequence[Row], column: str) -> list[Split]:
    splits: list[Split] = []
    for row in rows:
        name = _text(path, row, column)
        split = split_named(name)
        if split is None:
            raise DataError(
                f"There is no split {name!r}.",
                where=row.where(path),
                advice=f"Write one of: {WRITTEN}.",
            )
        splits.append(split)
    return splits
