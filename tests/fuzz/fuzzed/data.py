"""Data sets as they are downloaded: tar shards, parquet shards, and folders of images."""

from __future__ import annotations

import functools
import io
import json
import os
import struct
import tarfile
from pathlib import Path
from typing import Any

from hypothesis import strategies as st
from mutations import EXTREMES, TEXTS, Field, mutated, trees

from fuzzed.images import originals
from fuzzed.target import Attempts, Target, tmkd_errors

BLOCK = 512


def _prepared(source: str, path: Path, folder: Path) -> None:
    from tmkd_deploy.data.prepare import prepare
    from tmkd_deploy.events import SilentEvents
    from tmkd_deploy.recipe.schema import Data

    out = folder / "out"
    out.mkdir()
    spec = Data(source=source, path=path, test_fraction=0.5, image_size=16, workers=1)  # type: ignore[arg-type]
    prepare(spec, out, SilentEvents())


@functools.cache
def _images() -> list[bytes]:
    import numpy as np
    from PIL import Image

    encoded = []
    for seed in range(4):
        pixels = np.random.default_rng(seed).integers(0, 256, (6, 6, 3), dtype=np.uint8)
        stream = io.BytesIO()
        Image.fromarray(pixels).save(stream, "PNG")
        encoded.append(stream.getvalue())
    return encoded


@functools.cache
def _tars() -> list[bytes]:
    """Shards in the formats that tar has had."""
    shards = []
    for kind in (tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT):
        stream = io.BytesIO()
        with tarfile.open(fileobj=stream, mode="w", format=kind) as archive:
            for number, image in enumerate(_images()):
                prefix = "é" * 60 if kind != tarfile.USTAR_FORMAT and number == 1 else ""
                for suffix, content in (("png", image), ("cls", str(number % 2).encode())):
                    member = tarfile.TarInfo(f"{prefix}{number}.{suffix}")
                    member.size = len(content)
                    archive.addfile(member, io.BytesIO(content))
        shards.append(stream.getvalue())
    return shards


def _with_tar_checksums(raw: bytes) -> bytes:
    content, at = bytearray(raw), 0
    while at + BLOCK <= len(content):
        header = bytearray(content[at : at + BLOCK])
        if not any(header):
            break
        header[148:156] = b" " * 8
        content[at + 148 : at + 156] = b"%06o\0 " % sum(header)
        try:
            size = int(bytes(header[124:135]).strip(b" \0") or b"0", 8)
        except ValueError:
            size = 0
        at += BLOCK + -(-size // BLOCK) * BLOCK
    return bytes(content)


TYPES = b"0\x001234567xgLKSDMNVXAZ\xff"
SIZES = [
    *(b"\xff" * 12, b"\x80" + b"\0" * 3 + b"\xff" * 8, b"\x80" + b"\0" * 10 + b"\x05", b"7" * 11 + b"\0"),
    *(b"-0000000001\0", b"\xff" * 11 + b"\x00", b"\0" * 12, b" " * 12, b"99999999999\0", b"0x000000005\0"),
]
PAX = [
    *("size=-1", "size=1e9", "size=x", "size=99999999999999999999", "path=../../canary/secret"),
    *("path=\0", "linkpath=/etc/passwd", "GNU.sparse.major=1", "GNU.sparse.minor=0"),
    *("GNU.sparse.name=a.png", "GNU.sparse.realsize=9999999999999", "GNU.sparse.size=-5"),
    *("GNU.sparse.map=0,1,x", "GNU.sparse.numblocks=99999999999", "mtime=nan", "uid=x", "mtime=1e999"),
    *("hdrcharset=BINARY", "path=\ud800", "=", "x", "charset=x", "SCHILY.xattr.a=b", "GNU.sparse.offset=1"),
]


@st.composite
def _shards(draw: st.DrawFn) -> bytes:
    raw = bytearray(draw(st.sampled_from(_tars())))
    headers = [at for at in range(0, len(raw) - BLOCK, BLOCK) if raw[at + 257 : at + 262] == b"ustar"]
    for _ in range(draw(st.integers(1, 3))):
        at = draw(st.sampled_from(headers))
        what = draw(st.sampled_from(["size", "type", "name", "pax", "sparse", "bytes", "number"]))
        if what == "size":
            raw[at + 124 : at + 136] = draw(st.sampled_from(SIZES) | st.binary(min_size=12, max_size=12))
        elif what == "type":
            raw[at + 156] = draw(st.sampled_from(TYPES))
        elif what == "name":
            name = draw(st.sampled_from(TEXTS) | st.sampled_from(["0.cls", "0.png", "1.PNG", ".png"]))
            raw[at : at + 100] = name.encode("utf-8", "surrogateescape" if "\udcff" in name else "replace")[:100].ljust(100, b"\0")
        elif what == "number":
            offset, size = draw(st.sampled_from([(100, 8), (108, 8), (116, 8), (136, 12), (329, 8)]))
            raw[at + offset : at + offset + size] = draw(st.sampled_from(SIZES))[:size]
        elif what == "pax":
            raw[at:at] = _pax(draw)
        elif what == "sparse":
            raw[at + 156] = ord("S")
            raw[at + 386 : at + 494] = draw(st.sampled_from(SIZES)) * 9
            raw[at + 482] = draw(st.sampled_from([0, 1]))
        else:
            raw[at : at + BLOCK] = draw(mutated(bytes(raw[at : at + BLOCK])))[:BLOCK].ljust(BLOCK, b"\0")
    content = _with_tar_checksums(bytes(raw)) if draw(st.integers(0, 9)) else bytes(raw)
    return draw(mutated(content)) if draw(st.integers(0, 5)) == 0 else content


def _pax(draw: st.DrawFn) -> bytes:
    """An extended header with one hostile record, or with records that lie of their length."""
    text = draw(st.sampled_from(PAX) | st.text(max_size=20)).encode("utf-8", "surrogatepass") + b"\n"
    length = draw(st.sampled_from([None, None, None, b"0", b"-5", b"99999999999999999999", b"1", b"x"]))
    if length is None:
        number = len(text) + 2
        while len(b"%d " % number) + len(text) != number:
            number += 1
        length = b"%d" % number
    record = length + b" " + text
    member = tarfile.TarInfo("././@PaxHeader")
    member.type, member.size = draw(st.sampled_from([b"x", b"g"])), len(record)
    return member.tobuf(tarfile.USTAR_FORMAT) + record.ljust(-(-len(record) // BLOCK) * BLOCK, b"\0")


def _try_shard(raw: bytes, folder: Path) -> Attempts:
    path = folder / "shard.tar"
    path.write_bytes(raw)
    yield lambda: _prepared("webdataset", path, folder)


COLUMNS = ["struct", "bytes only", "string", "list", "null", "nested", "dictionary", "large"]
LABELS = ["int64", "uint8", "float", "string", "null", "bool", "with null", "huge", "negative", "list"]


@functools.cache
def _table(image: str, label: str, metadata: bytes, codec: str) -> bytes:
    import pyarrow as pa
    import pyarrow.parquet as pq

    rows = [{"bytes": data, "path": f"{at}.png"} for at, data in enumerate(_images())]
    both = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    images = {
        "struct": lambda: pa.array(rows, both),
        "bytes only": lambda: pa.array([{"bytes": each["bytes"]} for each in rows]),
        "string": lambda: pa.array(["a", None, "", "b"]),
        "list": lambda: pa.array([[each] for each in rows], pa.list_(both)),
        "null": lambda: pa.nulls(4),
        "nested": lambda: pa.array([{"bytes": {"bytes": each["bytes"]}} for each in rows]),
        "dictionary": lambda: pa.array([{"bytes": each["bytes"], "path": 5} for each in rows]),
        "large": lambda: pa.array(rows, pa.struct([("bytes", pa.large_binary()), ("path", pa.string())])),
    }[image]()
    labels = {
        "int64": lambda: pa.array([0, 1, 0, 1]),
        "uint8": lambda: pa.array([0, 1, 0, 1], pa.uint8()),
        "float": lambda: pa.array([0.0, 1.0, 0.0, float("nan")]),
        "string": lambda: pa.array(["0", "1", "0", "1"]),
        "null": lambda: pa.nulls(4),
        "bool": lambda: pa.array([True, False, True, False]),
        "with null": lambda: pa.array([0, 1, None, 1]),
        "huge": lambda: pa.array([0, 1, 2**63, 1], pa.uint64()),
        "negative": lambda: pa.array([0, -1, 0, 1]),
        "list": lambda: pa.array([[0], [1], [0], [1]]),
    }[label]()
    table = pa.table({"image": images, "label": labels})
    table = table.replace_schema_metadata({b"class_names": metadata, b"huggingface": metadata} if metadata else {})
    stream = io.BytesIO()
    pq.write_table(table, stream, row_group_size=2, compression=codec)
    return stream.getvalue()


@st.composite
def _parquets(draw: st.DrawFn) -> bytes:
    if draw(st.integers(0, 3)) == 0:
        names = draw(trees(["good", "bad"]) | trees({"info": {"features": {"label": {"names": ["a", "b"]}}}}))
        metadata = draw(st.sampled_from([b"[" * 3000, b"\xff", b"{}", b'["a","a"]', b'["a","\\ud800"]', None]))
        metadata = json.dumps(names).encode() if metadata is None else metadata
        return _table.__wrapped__("struct", "int64", metadata, "none")
    image = draw(st.sampled_from([*["struct"] * 8, *COLUMNS]))
    label = draw(st.sampled_from([*["int64"] * 8, *LABELS]))
    raw = _table(image, label, b"", draw(st.sampled_from(["none", "snappy", "zstd", "gzip"])))
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
    yield lambda: _prepared("parquet", path, folder)


@st.composite
def _folders(draw: st.DrawFn) -> list[tuple[bytes, bytes]]:
    """Files by path; a content that begins with LINK is a link."""
    names = [*TEXTS[:12], "good", "bad", "a\udcff", "\x1b[2J", ".hidden", "\u202e", "a" * 250, "a\nb"]
    files = [(f"{kind}/{at}.png".encode(), _images()[at]) for at in range(4) for kind in ("a", "b")]
    for _ in range(draw(st.integers(1, 3))):
        at = draw(st.integers(0, len(files) - 1))
        path, content = files[at]
        what = draw(st.sampled_from(["class", "name", "content", "link", "drop", "deep"]))
        name = draw(st.sampled_from(names)).encode("utf-8", "surrogateescape")
        if what == "class":
            files[at] = (name + b"/0.png", content)
        elif what == "name":
            files[at] = (path.split(b"/")[0] + b"/" + name + b".png", content)
        elif what == "content":
            files[at] = (path, draw(st.sampled_from(sorted(originals().values())) | st.binary(max_size=30)))
        elif what == "link":
            files[at] = (path, b"LINK" + draw(st.sampled_from([b"/nonexistent", b".", b"0.png", b"../.."])))
        elif what == "deep":
            files[at] = (path.split(b"/")[0] + b"/d" * 60 + b"/x.png", content)
        elif len(files) > 1:
            del files[at]
    return files


def _try_folder(files: list[tuple[bytes, bytes]], folder: Path) -> Attempts:
    root = folder / "data"
    root.mkdir()
    for name, content in files:
        path = os.path.join(os.fsencode(root), name.replace(b"\0", b"").lstrip(b"/").replace(b"..", b"_"))
        try:
            os.makedirs(os.path.dirname(path), exist_ok=True)
            if content.startswith(b"LINK"):
                os.symlink(content[4:], path)
            else:
                with open(path, "wb") as stream:
                    stream.write(content)
        except OSError:
            continue  # a name that this file system does not allow
    yield lambda: _prepared("folder", root, folder)


@st.composite
def _paths(draw: st.DrawFn) -> tuple[str, str]:
    """A source and a path as a recipe may name it."""
    number = st.sampled_from(["0", "3", "003", "-1", "9" * 5000, "٣", "x", "", "00"])
    text = draw(
        st.sampled_from([each for each in TEXTS if len(each) < 5000])
        | st.text(max_size=10)
        | st.tuples(number, number).map(lambda pair: f"shard-{{{pair[0]}..{pair[1]}}}.tar")
        | st.text("*?[]{}.!-/a0,\\", max_size=12)
    )
    return draw(st.sampled_from(["folder", "parquet", "webdataset"])), text


def _try_path(case: tuple[str, str], folder: Path) -> Attempts:
    source, text = case
    from tmkd_deploy.data.sources import source_fingerprint
    from tmkd_deploy.recipe.schema import Data

    for name in ("a", "b"):
        (folder / name).mkdir()
        (folder / name / "0.png").write_bytes(_images()[0])

    def read() -> None:
        # below the work folder, so that a pattern does not list the machine
        spec = Data(source=source, path=folder / text.lstrip("/"), image_size=16)  # type: ignore[arg-type]
        source_fingerprint(spec)

    yield read


TARGETS = [
    Target("tar shards", _shards, lambda: _tars()[0], _try_shard, tmkd_errors, share=4),
    Target(
        "parquet shards",
        _parquets,
        lambda: _table("struct", "int64", b"", "none"),
        _try_parquet,
        tmkd_errors,
        share=3,
        needs=("pyarrow",),
    ),
    Target(
        "image folders",
        _folders,
        lambda: [(b"a/0.png", _images()[0]), (b"a/1.png", _images()[1]), (b"b/0.png", _images()[2]), (b"b/1.png", _images()[3])],
        _try_folder,
        tmkd_errors,
        share=1,
    ),
    Target("data paths", _paths, lambda: ("folder", "."), _try_path, tmkd_errors, share=1),
]
