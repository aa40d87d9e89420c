"""Parquet shards in the layout of hub data sets: columns `image` {bytes, path} and `label`."""

from __future__ import annotations

import contextlib
import functools
import json
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tmkd_deploy.data.samples import EncodedDataset, find_files, numbered_class_names, reading
from tmkd_deploy.errors import DataError, MissingExtra
from tmkd_deploy.runtime.regular_file import open_regular

ROWS_PER_BATCH = 8  # the least that is fast; each may be an image of the largest size
NAMES_PER_BATCH, NAMES_BYTES = 1024, 256 << 20
# Compressed pages may expand to any size. Images are compressed already, and none has fewer bytes.
EXPANDED_BYTES, MAX_EXPANSION = 64 << 20, 100
ROWS, MIN_BYTES_PER_ROW = 1 << 20, 64
BUFFER_BYTES = 1 << 20  # by default pyarrow reads a whole row group


def read_parquet(path: Path, class_names: list[str] | None) -> EncodedDataset:
    """The images of the shards at `path`; only a few are in memory at a time.

    Class names are those given, otherwise those in the schema's metadata (`class_names`, or Hugging
    Face features), otherwise the label numbers.

    Raises:
        DataError: an unreadable shard, missing columns, or shards with different class names.
        MissingExtra: pyarrow is not installed.
    """
    files = find_files(path, ".parquet")
    images: list[_Row] = []
    ahead = _ReadAhead()
    keys: list[str] = []
    labels: list[int] = []
    for file in files:
        before = len(keys)
        with _open(file) as parquet:
            _check_columns(parquet.schema_arrow, file)
            named = _class_names(parquet.schema_arrow.metadata or {}, file)
            _check_sizes(parquet.metadata, file)
            rows = _names_at_once(parquet.metadata)
            for batch in parquet.iter_batches(rows, columns=["label", "image.path"]):
                first_row = len(keys) - before
                keys += _keys(file, batch, first_row)
                labels += _labels(file, batch, first_row)
            images += [
                _Row(ahead, file, group, row)
                for group in range(parquet.num_row_groups)
                for row in range(parquet.metadata.row_group(group).num_rows)
            ]
        if file == files[0]:
            first_named = named
        elif named != first_named:
            raise DataError(
                f"The class names of this shard differ from those of {files[0].name}.",
                where=str(file),
                advice="Use shards of a single data set, or correct the path in the recipe.",
            )
    return EncodedDataset(
        origin=f"parquet {path}",
        class_names=class_names or first_named or numbered_class_names(labels),
        keys=keys,
        labels=labels,
        strata=[""] * len(keys),
        images=images,
    )


class _ReadAhead:
    """Reads rows in batches, because a row group can only be read from its beginning.

    A row group may be a whole shard, so only one batch is in memory. In ascending order each batch
    is read once.
    """

    def __init__(self) -> None:
        self._group: tuple[Path, int] | None = None
        self._batches: Generator[Any] = _batches(Path(), 0)
        self._images: Any = []  # an Arrow array
        self._end = 0  # the row after the last of `_images`

    def read(self, file: Path, group: int, row: int) -> bytes:
        if self._group != (file, group) or row < self._end - len(self._images):
            self._batches.close()
            self._batches = _batches(file, group)
            self._group, self._images, self._end = (file, group), [], 0
        while row >= self._end:
            images = next(self._batches, None)
            if images is None:
                raise DataError(
                    f"Row group {group} of this shard ends after {self._end} rows, which are fewer "
                    "than its metadata says.",
                    where=str(file),
                    advice="Write or download the shard again.",
                )
            self._images = images
            self._end += len(self._images)
        image: bytes | None = self._images[row - self._end + len(self._images)]["bytes"].as_py()
        return image or b""

    def __reduce__(self) -> tuple[Any, ...]:
        return _shared_read_ahead, ()


@functools.cache
def _shared_read_ahead() -> _ReadAhead:
    """The reader shared by all blocks that are sent to this process."""
    return _ReadAhead()


@dataclass(frozen=True, slots=True)
class _Row:
    ahead: _ReadAhead
    file: Path
    group: int
    row: int

    def read(self) -> bytes:
        return self.ahead.read(self.file, self.group, self.row)


def _batches(file: Path, group: int) -> Generator[Any]:
    with _open(file) as parquet:
        for batch in parquet.iter_batches(
            ROWS_PER_BATCH, row_groups=[group], columns=["image.bytes"]
        ):
            yield batch["image"]


@contextlib.contextmanager
def _open(file: Path) -> Iterator[Any]:
    try:
        import pyarrow as pa  # noqa: PLC0415 - not part of the light installation
        import pyarrow.parquet as pq  # noqa: PLC0415
    except ImportError as error:
        raise MissingExtra("Reading parquet files", "train", "pyarrow") from error
    with reading(file), open_regular(file) as stream:
        try:
            with pq.ParquetFile(
                stream,
                buffer_size=BUFFER_BYTES,
                pre_buffer=False,
            ) as parquet:
                yield parquet
        except (pa.ArrowException, UnicodeDecodeError) as error:
            raise DataError(
                f"This is not a complete parquet file: {str(error).splitlines()[0]}",
                where=str(file),
                advice="Download or write this shard again.",
            ) from error


def _check_columns(schema: Any, file: Path) -> None:
    import pyarrow as pa  # noqa: PLC0415

    types = {name: schema.field(name).type for name in schema.names}
    image, label = types.get("image", pa.null()), types.get("label", pa.null())
    fields = {field.name: field.type for field in image} if pa.types.is_struct(image) else {}
    stored = fields.get("bytes", pa.null())
    is_bytes = pa.types.is_binary(stored) or pa.types.is_large_binary(stored)
    if not is_bytes or not pa.types.is_integer(label):
        present = ", ".join(f"{name} ({kind})" for name, kind in types.items())
        raise DataError(
            f"Required columns are missing; this file has: {present}.",
            where=str(file),
            advice="Add a column 'image' (a struct with the encoded image in 'bytes') and a column "
            "'label' (integers).",
        )


def _check_sizes(metadata: Any, file: Path) -> None:
    """Raise DataError for a file that promises to expand without measure."""
    size = file.stat().st_size
    if metadata.num_rows > max(ROWS, size // MIN_BYTES_PER_ROW):
        raise DataError(
            f"This file has {size:,} bytes, too few for its {metadata.num_rows:,} rows.",
            where=str(file),
            advice="Download or write this shard again.",
        )
    expanded = sum(_group_bytes(metadata))
    if expanded > max(EXPANDED_BYTES, MAX_EXPANSION * size):
        raise DataError(
            f"The {size:,} bytes of this file expand to {expanded:,}, more than {MAX_EXPANSION} "
            "times as many.",
            where=str(file),
            advice="Store encoded images (PNG, JPEG) in this shard.",
        )


def _group_bytes(metadata: Any) -> list[int]:
    """The expanded size of each row group in bytes.

    Columns have sizes too, but pyarrow aborts the whole process on one with damaged statistics.
    """
    return [metadata.row_group(at).total_byte_size for at in range(metadata.num_row_groups)]


def _names_at_once(metadata: Any) -> int:
    """Fewer rows where many copies of a path as long as its row group would not fit into memory."""
    longest = max(_group_bytes(metadata), default=0)
    return max(ROWS_PER_BATCH, min(NAMES_PER_BATCH, NAMES_BYTES // max(longest, 1)))


def _keys(file: Path, columns: Any, first_row: int) -> list[str]:
    rows = [f"{file.name}[{first_row + row}]" for row in range(columns.num_rows)]
    if "image" not in columns.schema.names:  # the struct has no field 'path'
        return rows
    named = [(image or {}).get("path") for image in columns["image"].to_pylist()]
    return [f"{row} {path}" if path else row for row, path in zip(rows, named, strict=True)]


def _labels(file: Path, columns: Any, first_row: int) -> list[int]:
    labels: list[int | None] = columns["label"].to_pylist()
    if None in labels:
        raise DataError(
            f"Row {first_row + labels.index(None)} has no label.",
            where=str(file),
            advice="Label every row, or remove the rows without a label.",
        )
    return [label for label in labels if label is not None]


def _class_names(metadata: dict[bytes, bytes], file: Path) -> list[str] | None:
    try:
        if b"class_names" in metadata:
            names = json.loads(metadata[b"class_names"])
        else:
            features = json.loads(metadata.get(b"huggingface", b"{}"))
            names = features.get("info", {}).get("features", {}).get("label", {}).get("names")
        return [_name(name) for name in names] if names else None
    except (ValueError, AttributeError, TypeError, RecursionError) as error:
        raise DataError(
            "The class names in this file's metadata are invalid.",
            where=str(file),
            advice="Store them as a JSON list under 'class_names', or set 'data.class_names'.",
        ) from error


def _name(name: object) -> str:
    if not isinstance(name, str | int):
        raise TypeError("a class name must be text")
    return str(name)
