"""The rows of a CSV, JSON or JSON-lines file, each with its line."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tmkd_deploy.data.samples import CORRECT_PATH, reading
from tmkd_deploy.errors import DataError

BYTES_AT_MOST = 64 << 20  # a million images, and still read within seconds
SUFFIXES = (".csv", ".json", ".jsonl")


@dataclass(frozen=True, slots=True)
class Row:
    """The values of a row by column; `line` counts from 1, and in a JSON list its entries do."""

    line: int
    values: dict[str, Any]

    def where(self, path: Path) -> str:
        """The place of the row, as in compilers' messages."""
        return f"{path}:{self.line}"


def read_rows(path: Path) -> list[Row]:
    """All rows of the table at `path`; blank lines are none.

    Raises:
        DataError: it cannot be read, is too large, is no UTF-8, or has a row that is no row.
    """
    readers = {".csv": _csv, ".json": _json, ".jsonl": _json_lines}
    reader = readers.get(path.suffix.lower())
    if reader is None:
        raise DataError(
            "This is not a table of labels.",
            where=str(path),
            advice=f"Name a file that ends in {', '.join(SUFFIXES)}.",
        )
    try:
        return list(reader(path, _text(path)))
    except (ValueError, RecursionError) as error:  # numbers too long, nesting too deep
        raise _damaged(path, str(error)) from error


def _text(path: Path) -> str:
    with reading(path):
        if not path.is_file():
            what = "This is not a file." if path.exists() else "This file does not exist."
            raise DataError(what, where=str(path), advice=CORRECT_PATH)
        with path.open("rb") as stream:
            content = stream.read(BYTES_AT_MOST + 1)
    if len(content) > BYTES_AT_MOST:
        raise DataError(
            f"This table has more than {BYTES_AT_MOST >> 20} MiB.",
            where=str(path),
            advice="Keep only the columns for image, label, split and group, or use parquet.",
        )
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise DataError(
            "This table is not UTF-8.", where=f"{path}:{line}", advice="Save it as UTF-8."
        ) from error


def _csv(path: Path, text: str) -> Iterator[Row]:
    lines = csv.reader(io.StringIO(text, newline=""), strict=True)
    header: list[str] | None = None
    before = 0
    try:
        for values in lines:
            line, before = before + 1, lines.line_num
            if not values:
                continue
            if header is None:
                header = [name.strip() for name in values]
                if len(set(header)) < len(header):
                    raise _damaged(f"{path}:{line}", "two columns have the same name")
            elif len(values) != len(header):
                raise _damaged(f"{path}:{line}", f"{len(values)} values for {len(header)} columns")
            else:
                yield Row(line, dict(zip(header, values, strict=True)))
    except csv.Error as error:
        raise _damaged(f"{path}:{before + 1}", str(error)) from error


def _json(path: Path, text: str) -> Iterator[Row]:
    try:
        rows = json.loads(text)
    except json.JSONDecodeError as error:
        raise _damaged(f"{path}:{error.lineno}", error.msg) from error
    if not isinstance(rows, list):
        raise _damaged(path, "it is not a list")
    for number, values in enumerate(rows, start=1):
        yield Row(number, _object(f"{path}:{number}", values))


def _json_lines(path: Path, text: str) -> Iterator[Row]:
    for line, written in enumerate(text.split("\n"), start=1):
        if written.strip():
            try:
                values = json.loads(written)
            except json.JSONDecodeError as error:
                raise _damaged(f"{path}:{line}", error.msg) from error
            yield Row(line, _object(f"{path}:{line}", values))


def _object(where: str, values: Any) -> dict[str, Any]:
    if not isinstance(values, dict):
        raise _damaged(where, "a row must be an object with a key for each column")
    return values


def _damaged(where: Path | str, why: str) -> DataError:
    return DataError(
        f"This table cannot be read: {why.rstrip('.')}.",
        where=str(where),
        advice="Write one row per image, with the same columns in each.",
    )
