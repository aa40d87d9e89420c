"""Parquet shards."""

from __future__ import annotations

import functools
import io
import json
import struct
from pathlib import Path

from hypothesis import strategies as st
from mutations import Field, mutated, trees

from fuzzed.data import png_images, prepare_source
from fuzzed.target import Attempts, Target, tmkd_errors

COLUMNS = ["struct", "bytes only", "string", "list", "null", "nested", "dictionary", "large"]
LABELS = [
    "int64",
    "uint8",
    "float",
    "string",
    "null",
    "bool",
    "with null",
    "huge",
    "negative",
    "list",
]


@functools.cache
def table(image: str, label: str, metadata: bytes, codec: str) -> bytes:
    import pyarrow as pa
    import pyarrow.parquet as pq

    rows = [{"bytes": data, "path": f"{at}.png"} for at, data in enumerate(png_images())]
    turns = [at % 2 for at in range(len(rows))]
    both = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    images = {
        "struct": lambda: pa.array(rows, both),
        "bytes only": lambda: pa.array([{"bytes": each["bytes"]} for each in rows]),
        "string": lambda: pa.array(["a", None, "", "b"] * 3),
        "list": lambda: pa.array([[each] for each in rows], pa.list_(both)),
        "null": lambda: pa.nulls(len(rows)),
        "nested": lambda: pa.array([{"bytes": {"bytes": each["bytes"]}} for each in rows]),
        "dictionary": lambda: pa.array([{"bytes": each["bytes"], "path": 5} for each in rows]),
        "large": lambda: pa.array(
            rows, pa.struct([("bytes", pa.large_binary()), ("path", pa.string())])
        ),
    }[image]()
    labels = {
        "int64": lambda: pa.array(turns),
        "uint8": lambda: pa.array(turns, pa.uint8()),
        "float": lambda: pa.array([*map(float, turns[1:]), float("nan")]),
        "string": lambda: pa.array([str(turn) for turn in turns]),
        "null": lambda: pa.nulls(len(rows)),
        "bool": lambda: pa.array([turn == 1 for turn in turns]),
        "with null": lambda: pa.array([None, *turns[1:]]),
        "huge": lambda: pa.array([2**63, *turns[1:]], pa.uint64()),
        "negative": lambda: pa.array([-1, *turns[1:]]),
        "list": lambda: pa.array([[turn] for turn in turns]),
    }[label]()
    table = pa.table({"image": images, "label": labels})
    table = table.replace_schema_metadata(
        {b"class_names": metadata, b"huggingface": metadata} if metadata else {}
    )
    stream = io.BytesIO()
    pq.write_table(table, stream, row_group_size=2, compression=codec)
    return stream.getvalue()


@st.composite
def _parquets(draw: st.DrawFn) -> bytes:
    if draw(st.integers(0, 3)) == 0:
        names = draw(
            trees(["good", "bad"]) | trees({"info": {"features": {"label": {"names": ["a", "b"]}}}})
        )
        metadata = draw(
            st.sampled_from([b"[" * 3000, b"\xff", b"{}", b'["a","a"]', b'["a","\\ud800"]', None])
        )
        metadata = json.dumps(names).encode() if metadata is None else metadata
        return table.__wrapped__("struct", "int64", metadata, "none")
    image = draw(st.sampled_from([*["struct"] * 8, *COLUMNS]))
    label = draw(st.sampled_from([*["int64"] * 8, *LABELS]))
    raw = table(image, label, b"", draw(st.sampled_from(["none", "snappy", "zstd", "gzip"])))
    footer = struct.unpack("<I", raw[-8:-4])[0]
    begin = len(raw) - 8 - footer
    where = draw(st.integers(0, 3))
    if where == 0:
        return draw(mutated(raw, [Field(len(raw) - 8, 4)]))
    if where == 1:
        return draw(mutated(raw[:begin])) + raw[begin:]
    changed = draw(mutated(raw[begin:-8]))
    return raw[:begin] + changed + struct.pack("<I", len(changed)) + b"PAR1"


def _try_parquet(raw: bytes, folder: Path) -> Attempts:
    path = folder / "shard.parquet"
    path.write_bytes(raw)
    yield lambda: prepare_source("parquet", path, folder)


TARGETS = [
    Target(
        "parquet shards",
        _parquets,
        lambda: table("struct", "int64", b"", "none"),
        _try_parquet,
        tmkd_errors,
        share=3,
        needs=("pyarrow",),
    ),
]
