"""WebDataset shards: tar files."""

from __future__ import annotations

import functools
import io
import tarfile
from pathlib import Path

from hypothesis import strategies as st
from mutations import TEXTS, mutated

from fuzzed.data import png_images, prepare_source
from fuzzed.target import Attempts, Target, tmkd_errors

BLOCK = 512


@functools.cache
def shards() -> list[bytes]:
    """Shards in the formats that tar has had."""
    shards = []
    for kind in (tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT):
        stream = io.BytesIO()
        with tarfile.open(fileobj=stream, mode="w", format=kind) as archive:
            for number, image in enumerate(png_images()):
                prefix = "é" * 60 if kind != tarfile.USTAR_FORMAT and number == 1 else ""
                for suffix, content in (("png", image), ("cls", str(number % 2).encode())):
                    member = tarfile.TarInfo(f"{prefix}{number}.{suffix}")
                    member.size = len(content)
                    archive.addfile(member, io.BytesIO(content))
        shards.append(stream.getvalue())
    return shards


def with_checksums(raw: bytes) -> bytes:
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
    *(
        b"\xff" * 12,
        b"\x80" + b"\0" * 3 + b"\xff" * 8,
        b"\x80" + b"\0" * 10 + b"\x05",
        b"7" * 11 + b"\0",
    ),
    *(
        b"-0000000001\0",
        b"\xff" * 11 + b"\x00",
        b"\0" * 12,
        b" " * 12,
        b"99999999999\0",
        b"0x000000005\0",
    ),
]
PAX = [
    *("size=-1", "size=1e9", "size=x", "size=99999999999999999999", "path=../../canary/secret"),
    *("path=\0", "linkpath=/etc/passwd", "GNU.sparse.major=1", "GNU.sparse.minor=0"),
    *("GNU.sparse.name=a.png", "GNU.sparse.realsize=9999999999999", "GNU.sparse.size=-5"),
    *(
        "GNU.sparse.map=0,1,x",
        "GNU.sparse.numblocks=99999999999",
        "mtime=nan",
        "uid=x",
        "mtime=1e999",
    ),
    *(
        "hdrcharset=BINARY",
        "path=\ud800",
        "=",
        "x",
        "charset=x",
        "SCHILY.xattr.a=b",
        "GNU.sparse.offset=1",
    ),
]


@st.composite
def _changed(draw: st.DrawFn) -> bytes:
    raw = bytearray(draw(st.sampled_from(shards())))
    headers = [
        at for at in range(0, len(raw) - BLOCK, BLOCK) if raw[at + 257 : at + 262] == b"ustar"
    ]
    for _ in range(draw(st.integers(1, 3))):
        at = draw(st.sampled_from(headers))
        what = draw(st.sampled_from(["size", "type", "name", "pax", "sparse", "bytes", "number"]))
        if what == "size":
            raw[at + 124 : at + 136] = draw(
                st.sampled_from(SIZES) | st.binary(min_size=12, max_size=12)
            )
        elif what == "type":
            raw[at + 156] = draw(st.sampled_from(TYPES))
        elif what == "name":
            name = draw(
                st.sampled_from(TEXTS) | st.sampled_from(["0.cls", "0.png", "1.PNG", ".png"])
            )
            raw[at : at + 100] = name.encode(
                "utf-8", "surrogateescape" if "\udcff" in name else "replace"
            )[:100].ljust(100, b"\0")
        elif what == "number":
            offset, size = draw(
                st.sampled_from([(100, 8), (108, 8), (116, 8), (136, 12), (329, 8)])
            )
            raw[at + offset : at + offset + size] = draw(st.sampled_from(SIZES))[:size]
        elif what == "pax":
            raw[at:at] = _pax(draw)
        elif what == "sparse":
            raw[at + 156] = ord("S")
            raw[at + 386 : at + 494] = draw(st.sampled_from(SIZES)) * 9
            raw[at + 482] = draw(st.sampled_from([0, 1]))
        else:
            raw[at : at + BLOCK] = draw(mutated(bytes(raw[at : at + BLOCK])))[:BLOCK].ljust(
                BLOCK, b"\0"
            )
    content = with_checksums(bytes(raw)) if draw(st.integers(0, 9)) else bytes(raw)
    return draw(mutated(content)) if draw(st.integers(0, 5)) == 0 else content


def _pax(draw: st.DrawFn) -> bytes:
    """An extended header with one hostile record, or with records that lie of their length."""
    text = (
        draw(st.sampled_from(PAX) | st.text(max_size=20)).encode("utf-8", "surrogatepass") + b"\n"
    )
    length = draw(
        st.sampled_from([None, None, None, b"0", b"-5", b"99999999999999999999", b"1", b"x"])
    )
    if length is None:
        number = len(text) + 2
        while len(b"%d " % number) + len(text) != number:
            number += 1
        length = b"%d" % number
    record = length + b" " + text
    member = tarfile.TarInfo("././@PaxHeader")
    member.type, member.size = draw(st.sampled_from([b"x", b"g"])), len(record)
    return member.tobuf(tarfile.USTAR_FORMAT) + record.ljust(
        -(-len(record) // BLOCK) * BLOCK, b"\0"
    )


def _try_shard(raw: bytes, folder: Path) -> Attempts:
    path = folder / "shard.tar"
    path.write_bytes(raw)
    yield lambda: prepare_source("webdataset", path, folder)


TARGETS = [
    Target("tar shards", _changed, lambda: shards()[0], _try_shard, tmkd_errors, share=4),
]
