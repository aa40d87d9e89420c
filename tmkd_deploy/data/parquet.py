"""Parquet shards as hub data sets lay images out: a column `image` {bytes, path} and `label`."""

from __future__ import annotations

import contextlib
import functools
import json
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tmkd_deploy.data.samples import Records, numbered, reading, shards
from tmkd_deploy.errors import DataError, MissingExtra

ROWS_AT_ONCE = 64
READ_AT_ONCE = 1 << 20  # bytes; pyarrow would read a whole row group


def read_parquet(path: Path, class_names: list[str] | None) -> Records:
    """The images of the shards at `path`; few are in memory at a time.

    Class names are those given, else those of the schema's metadata (`class_names`, or the
    features that Hugging Face writes), else the labels' numbers.

    Raises:
        DataError: an unreadable shard, missing columns, or shards that name other classes.
        MissingExtra: pyarrow is not installed.
    """
    files = shards(path, ".parquet")
    images: list[_Row] = []
    ahead = _ReadAhead()
    keys: list[str] = []
    labels: list[int] = []
    for file in files:
        with _opened(file) as parquet:
            _check_columns(parquet.schema_arrow, file)
            named = _names_in(parquet.schema_arrow.metadata or {}, file)
            columns = parquet.read(columns=["label", "image.path"])
            keys += _keys(file, columns)
            labels += _labels(file, columns)
            images += [
                _Row(ahead, file, group, row)
                for group in range(parquet.num_row_groups)
                for row in range(parquet.metadata.row_group(group).num_rows)
            ]
        if file == files[0]:
            first_named = named
        elif named != first_named:
            raise DataError(
                f"This shard names other classes than {files[0].name} does.",
                where=str(file),
                advice="Use shards of one data set, or name the right files in the recipe.",
            )
    return Records(
        origin=f"parquet {path}",
        class_names=class_names or first_named or numbered(labels),
        keys=keys,
        labels=labels,
        strata=[""] * len(keys),
        images=images,
    )


class _ReadAhead:
    """Some rows read at once, because a row group can only be read from its begin.

    A row group may hold a whole shard, so it is not kept; asked in rising order, each is read once.
    """

    def __init__(self) -> None:
        self._group: tuple[Path, int] | None = None
        self._batches: Generator[list[bytes]] = _batches(Path(), 0)
        self._images: list[bytes] = []
        self._end = 0  # row after the last of `_images`

    def read(self, file: Path, group: int, row: int) -> bytes:
        if self._group != (file, group) or row < self._end - len(self._images):
            self._batches.close()
            self._batches = _batches(file, group)
            self._group, self._images, self._end = (file, group), [], 0
        while row >= self._end:
            self._images = next(self._batches)
            self._end += len(self._images)
        return self._images[row - self._end]

    def __reduce__(self) -> tuple[Any, ...]:
        return _read_ahead_here, ()


@functools.cache
def _read_ahead_here() -> _ReadAhead:
    """The one that all blocks share which are sent to this process."""
    return _ReadAhead()


@dataclass(frozen=True, slots=True)
class _Row:
    ahead: _ReadAhead
    file: Path
    group: int
    row: int

    def read(self) -> bytes:
        return self.ahead.read(self.file, self.group, self.row)


def _batches(file: Path, group: int) -> Generator[list[bytes]]:
    with _opened(file) as parquet:
        for batch in parquet.iter_batches(
            ROWS_AT_ONCE, row_groups=[group], columns=["image.bytes"]
        ):
            yield [(image and image["bytes"]) or b"" for image in batch["image"].to_pylist()]


@contextlib.contextmanager
def _opened(file: Path) -> Iterator[Any]:
    try:
        import pyarrow as pa  # noqa: PLC0415 - not part of the light installation
        import pyarrow.parquet as pq  # noqa: PLC0415
    except ImportError as error:
        raise MissingExtra("Reading parquet files", "train", "pyarrow") from error
    with reading(file):
        try:
            with pq.ParquetFile(file, buffer_size=READ_AT_ONCE, pre_buffer=False) as parquet:
                yield parquet
        except (pa.ArrowException, UnicodeDecodeError) as error:
            raise DataError(
                f"This is not a complete parquet file: {str(error).splitlines()[0]}",
                where=str(file),
                advice="Fetch or write this shard again.",
            ) from error


def _check_columns(schema: Any, file: Path) -> None:
    import pyarrow as pa  # noqa: PLC0415

    types = {name: schema.field(name).type for name in schema.names}
    image, label = types.get("image"), types.get("label")
    fields = [field.name for field in image] if image and pa.types.is_struct(image) else []
    if "bytes" not in fields or label is None or not pa.types.is_integer(label):
        present = ", ".join(f"{name} ({kind})" for name, kind in types.items())
        raise DataError(
            f"The columns needed are not there; this file has: {present}.",
            where=str(file),
            advice="Give it a column 'image' (a struct with the encoded image in 'bytes') and a "
            "column 'label' (integers).",
        )


def _keys(file: Path, columns: Any) -> list[str]:
    rows = [f"{file.name}[{row}]" for row in range(columns.num_rows)]
    if "image" not in columns.column_names:  # the struct has no field 'path'
        return rows
    paths = [(image or {}).get("path") for image in columns["image"].to_pylist()]
    return [f"{row} {path}" if path else row for row, path in zip(rows, paths, strict=True)]


def _labels(file: Path, columns: Any) -> list[int]:
    labels: list[int | None] = columns["label"].to_pylist()
    if None in labels:
        raise DataError(
            f"Row {labels.index(None)} has no label.",
            where=str(file),
            advice="Label every row, or remove the rows without a label.",
        )
    return [label for label in labels if label is not None]


def _names_in(metadata: dict[bytes, bytes], file: Path) -> list[str] | None:
    try:
        if b"class_names" in metadata:
            names = json.loads(metadata[b"class_names"])
        else:
            features = json.loads(metadata.get(b"huggingface", b"{}"))
            names = features.get("info", {}).get("features", {}).get("label", {}).get("names")
        return [_name(name) for name in names] if names else None
    except (ValueError, AttributeError, TypeError) as error:
        raise DataError(
            "The class names in this file's metadata cannot be read.",
            where=str(file),
            advice="Write them as a JSON list under 'class_names', or give 'data.class_names'.",
        ) from error


def _name(name: object) -> str:
    if not isinstance(name, str | int):
        raise TypeError("a class name is text")
    return str(name)
