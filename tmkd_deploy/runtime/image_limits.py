"""Checks of encoded images before Pillow decodes them, where Pillow sets no limit of its own."""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Iterator, Sequence

# Full-frame cameras have 61 million pixels, telephones 64 and area sensors for inspection 65.
MAX_PIXELS = 1 << 26
# libwebp keeps several copies of an image; at this bound it needs about as much memory as the rest
MAX_WEBP_PIXELS = 1 << 25
MAX_ASPECT_RATIO = 100  # resampling coefficients grow with the longer side
MAX_BYTES = 256 << 20  # holds MAX_PIXELS uncompressed with alpha
MAX_SCANS = 64  # of a progressive JPEG, where about ten are usual; each visits every pixel
# Pillow decodes run-length encoded BMP files and PPM files of text in Python
MAX_SLOW_BYTES = 8 << 20
MAX_SEGMENTS = 300_000  # of a JPEG or chunks of a PNG; Pillow keeps a Python object for each
MAX_TIFF_TAGS = 4096
MAX_TIFF_VALUES = 100_000  # in one tag; more than the strips or tiles of any allowed image

_INFLATED_AT_ONCE = 1 << 20
_PNG_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
# start x, start y, step x, step y of the passes of an interlaced PNG
_ADAM7 = (
    (0, 0, 8, 8),
    (4, 0, 8, 8),
    (0, 4, 4, 8),
    (2, 0, 4, 4),
    (0, 2, 2, 4),
    (1, 0, 2, 2),
    (0, 1, 1, 2),
)
_JPEG_MARKER = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")  # not stuffing, restart or filling
_JPEG_SCAN, _JPEG_END = b"\xff\xda", b"\xff\xd9"
_JPEG_WITHOUT_LENGTH = (b"\xff\x01", b"\xff\xd8")
_TIFF_INTEGERS = {1: 1, 3: 2, 4: 4, 6: 1, 8: 2, 9: 4, 16: 8, 17: 8}  # bytes by type
_TIFF_BYTE_TYPES = (1, 2, 6, 7)
_TIFF_TILE_WIDTH, _TIFF_TILE_LENGTH = 322, 323


def size_problem(width: int, height: int, kind: str) -> str | None:
    """A sentence if a `kind` image of this size in pixels is not decoded."""
    limit = MAX_WEBP_PIXELS if kind == "WEBP" else MAX_PIXELS
    if width * height > limit:
        return f"It has {width} x {height} pixels, more than the allowed {limit:,}."
    if max(width, height) > MAX_ASPECT_RATIO * min(width, height):
        return (
            f"It has {width} x {height} pixels; "
            f"one side may be at most {MAX_ASPECT_RATIO} times the other."
        )
    return None


def content_problem(encoded: bytes) -> str | None:
    """A sentence if decoding `encoded` would take too long, too much memory, or miss pixels."""
    try:
        if encoded.startswith(b"\x89PNG\r\n\x1a\n"):
            return _png_problem(memoryview(encoded))
        if encoded.startswith(b"\xff\xd8"):
            return _jpeg_problem(encoded)
        if encoded.startswith((b"II", b"MM")):
            return _tiff_problem(encoded)
        if encoded.startswith(b"BM"):
            return _bmp_problem(encoded)
        if encoded.startswith((b"P1", b"P2", b"P3")) and len(encoded) > MAX_SLOW_BYTES:
            return f"It is stored as text and larger than the allowed {MAX_SLOW_BYTES >> 20} MiB."
    except (struct.error, zlib.error, KeyError):
        pass  # it is damaged, which Pillow reports in its own words
    return None


def _png_problem(encoded: memoryview) -> str | None:
    """Count the pixel data, because Pillow takes missing rows at the end for black ones."""
    header, data, complete = b"", [], False
    for number, (name, content) in enumerate(_png_chunks(encoded)):
        if number == MAX_SEGMENTS:
            return _too_many(MAX_SEGMENTS, "chunks")
        if name == b"IHDR":  # of several, Pillow takes the last
            header = bytes(content)
        elif name == b"IDAT" and not complete:
            data.append(content)
        complete = bool(data) and name != b"IDAT"
    width, height, depth, colour, _, _, interlaced = struct.unpack(">IIBBBBB", header)
    if problem := size_problem(width, height, "PNG"):
        return problem
    bits = depth * _PNG_CHANNELS[colour]
    expected = 0
    for x, y, step_x, step_y in _ADAM7 if interlaced else ((0, 0, 1, 1),):
        columns, rows = -((x - width) // step_x), -((y - height) // step_y)
        expected += rows * (1 + (columns * bits + 7) // 8) if columns > 0 and rows > 0 else 0
    if _inflated(data, expected) < expected:
        return "It is damaged: its pixels end early."
    return None


def _png_chunks(encoded: memoryview) -> Iterator[tuple[bytes, memoryview]]:
    place = 8
    while place + 8 <= len(encoded):
        length, name = struct.unpack_from(">I4s", encoded, place)
        yield name, encoded[place + 8 : place + 8 + length]
        place += length + 12


def _inflated(chunks: Sequence[memoryview], enough: int) -> int:
    """How many bytes `chunks` inflate to, counted up to `enough`; nothing is kept."""
    inflater = zlib.decompressobj()
    count = 0
    for chunk in chunks:
        rest: bytes | memoryview = chunk
        while count < enough and not inflater.eof:
            inflated = len(inflater.decompress(rest, _INFLATED_AT_ONCE))
            count += inflated
            rest = inflater.unconsumed_tail
            if not rest and inflated < _INFLATED_AT_ONCE:
                break
    return count


def _jpeg_problem(encoded: bytes) -> str | None:
    """Count segments and scans up to the end of the image; a film may follow it."""
    scans = place = 0
    for _ in range(MAX_SEGMENTS):
        found = _JPEG_MARKER.search(encoded, place)
        if found is None or found.group() == _JPEG_END:
            return None
        place = found.end()
        if found.group() not in _JPEG_WITHOUT_LENGTH:
            (length,) = struct.unpack_from(">H", encoded, place)
            place += length
        scans += found.group() == _JPEG_SCAN
        if scans > MAX_SCANS:
            return _too_many(MAX_SCANS, "scans")
    return _too_many(MAX_SEGMENTS, "segments")


def _bmp_problem(encoded: bytes) -> str | None:
    header_size, compression = struct.unpack_from("<I12xI", encoded, 14)
    if header_size >= 40 and compression in (1, 2) and len(encoded) > MAX_SLOW_BYTES:
        return f"It is run-length encoded and larger than the allowed {MAX_SLOW_BYTES >> 20} MiB."
    return None


def _too_many(limit: int, what: str) -> str:
    return f"It has more than the allowed {limit:,} {what}."


def _tiff_problem(encoded: bytes) -> str | None:
    """Look at the first directory, the only one that is used."""
    order = "<" if encoded.startswith(b"II") else ">"
    big = struct.unpack_from(f"{order}H", encoded, 2) == (43,)
    number, entry_format = ("Q", "HHQ8s") if big else ("I", "HHI4s")
    (place,) = struct.unpack_from(order + number, encoded, 8 if big else 4)
    place = min(place, len(encoded))  # struct raises OverflowError for what no file can hold
    (entries,) = struct.unpack_from(f"{order}{'Q' if big else 'H'}", encoded, place)
    if entries > MAX_TIFF_TAGS:
        return _too_many(MAX_TIFF_TAGS, "tags")
    place += 8 if big else 2
    size = struct.calcsize(order + entry_format)
    tile = {_TIFF_TILE_WIDTH: 1, _TIFF_TILE_LENGTH: 1}
    for start in range(place, min(place + entries * size, len(encoded) - size + 1), size):
        tag, kind, count, value = struct.unpack_from(order + entry_format, encoded, start)
        if count > MAX_TIFF_VALUES and kind not in _TIFF_BYTE_TYPES:
            return f"Its tag {tag} has {count:,} values, more than the allowed {MAX_TIFF_VALUES:,}."
        if tag in tile and kind in _TIFF_INTEGERS:
            content = value[: _TIFF_INTEGERS[kind]]
            side = int.from_bytes(content, "little" if order == "<" else "big")
            tile[tag] = max(tile[tag], side)
    width, height = tile.values()
    if width * height > MAX_PIXELS:
        return f"Its tiles have {width} x {height} pixels, more than the allowed {MAX_PIXELS:,}."
    return None
