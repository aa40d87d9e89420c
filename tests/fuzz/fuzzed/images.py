"""Images of every format that the runtime decodes."""

from __future__ import annotations

import functools
import struct
import zlib
from io import BytesIO
from pathlib import Path
from typing import Any

from hypothesis import strategies as st
from mutations import Field, mutated

from fuzzed.target import Attempts, Target, runtime_errors


@functools.cache
def originals() -> dict[str, bytes]:
    """Small valid files, several of each format."""
    import numpy as np
    from PIL import Image

    random = np.random.default_rng(1)
    rgb = Image.fromarray(random.integers(0, 256, (12, 10, 3), dtype=np.uint8))
    grey = Image.fromarray(random.integers(0, 2**16, (12, 10), dtype=np.uint16))
    exif = Image.Exif()
    exif[0x0112] = 6
    made = {
        "png": (rgb, "PNG", {}),
        "png 16": (grey, "PNG", {}),
        "png palette": (rgb.quantize(16), "PNG", {"transparency": 3}),
        "png alpha": (rgb.convert("RGBA"), "PNG", {"exif": exif}),
        "jpeg": (rgb, "JPEG", {"exif": exif}),
        "jpeg cmyk": (rgb.convert("CMYK"), "JPEG", {"progressive": True}),
        "bmp": (rgb, "BMP", {}),
        "bmp 1": (rgb.convert("1"), "BMP", {}),
        "webp": (rgb, "WEBP", {"exif": exif}),
        "webp lossless": (rgb.convert("RGBA"), "WEBP", {"lossless": True}),
        "tiff": (rgb, "TIFF", {}),
        "tiff 16": (grey, "TIFF", {}),
        "tiff lzw": (rgb, "TIFF", {"compression": "tiff_lzw", "exif": exif}),
        "tiff deflate": (rgb, "TIFF", {"compression": "tiff_adobe_deflate"}),
    }
    encoded = {}
    for name, (image, kind, options) in made.items():
        stream = BytesIO()
        image.save(stream, kind, **options)
        encoded[name] = stream.getvalue()
    return encoded


def _png_fields(raw: bytes) -> list[Field]:
    fields, at = [], 8
    while at + 12 <= len(raw):
        length = struct.unpack(">I", raw[at : at + 4])[0]
        fields += [Field(at, 4, "big"), Field(at + 4, 4, "big")]
        if raw[at + 4 : at + 8] == b"IHDR":
            fields += [Field(at + 8, 4, "big"), Field(at + 12, 4, "big")] * 3
            fields += [Field(at + 16 + byte, 1) for byte in range(5)]
        else:
            fields += [Field(at + 8, 1), Field(at + 8, 2, "big")]
        at += 12 + length
    return fields


def _with_png_checksums(raw: bytes) -> bytes:
    content, at = bytearray(raw), 8
    while at + 12 <= len(content):
        end = at + 8 + struct.unpack(">I", content[at : at + 4])[0]
        if end + 4 > len(content):
            break
        content[end : end + 4] = struct.pack(">I", zlib.crc32(content[at + 4 : end]))
        at = end + 4
    return bytes(content)


def _jpeg_fields(raw: bytes) -> list[Field]:
    fields, at = [], 2
    while at + 4 <= len(raw) and raw[at] == 0xFF:
        length = struct.unpack(">H", raw[at + 2 : at + 4])[0]
        fields += [Field(at + 1, 1), Field(at + 2, 2, "big")]
        fields += [Field(at + 4 + byte, 1) for byte in range(min(length - 2, 17))]
        fields += [Field(at + 5, 2, "big"), Field(at + 7, 2, "big")]
        at += 2 + length
    return fields


def _tiff_fields(raw: bytes) -> list[Field]:
    fields = [Field(2, 2), Field(4, 4)]
    at = struct.unpack("<I", raw[4:8])[0]
    count = struct.unpack("<H", raw[at : at + 2])[0]
    fields.append(Field(at, 2))
    for entry in range(at + 2, at + 2 + 12 * count, 12):
        fields += [Field(entry, 2), Field(entry + 2, 2), Field(entry + 4, 4), Field(entry + 8, 4)]
    return [*fields, Field(at + 2 + 12 * count, 4)]


def _riff_fields(raw: bytes) -> list[Field]:
    fields, at = [Field(4, 4)], 12
    while at + 8 <= len(raw):
        length = struct.unpack("<I", raw[at + 4 : at + 8])[0]
        fields += [Field(at, 4), Field(at + 4, 4), *(Field(at + 8 + byte, 1) for byte in range(10))]
        fields += [Field(at + 14, 2), Field(at + 16, 2)]
        at += 8 + length + length % 2
    return fields


_BMP = [Field(2, 4), Field(10, 4), Field(14, 4), Field(18, 4), Field(22, 4), Field(26, 2)]
_BMP += [Field(28, 2), Field(30, 4), Field(34, 4), Field(46, 4), Field(50, 4)]
_FIELDS: dict[str, Any] = {
    "png": _png_fields,
    "jpeg": _jpeg_fields,
    "bmp": lambda raw: _BMP,
    "webp": _riff_fields,
    "tiff": _tiff_fields,
}
_PIECES = [
    *(b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"\xff\xd9", b"II*\0", b"MM\0*", b"RIFF", b"WEBP"),
    *(b"\x00\x00\x00\x00IEND\xaeB`\x82", b"GIF89a", b"%!PS-Adobe-3.0 EPSF-3.0\n", b"acTL", b"iCCP"),
]


def _images() -> st.SearchStrategy[bytes]:
    def of(name: str) -> st.SearchStrategy[bytes]:
        raw, kind = originals()[name], name.partition(" ")[0]
        repair = _with_png_checksums if kind == "png" else None
        return mutated(raw, _FIELDS[kind](raw), repair, _PIECES)

    noise = st.binary(max_size=60) | st.sampled_from(_PIECES)
    return st.one_of(*(of(name) for name in sorted(originals())), noise)


@functools.cache
def _classifier() -> Any:
    import tempfile

    from fuzzed.bundles import bundle
    from tmkd_deploy.runtime import load

    with tempfile.NamedTemporaryFile(suffix=".tmkd") as file:
        file.write(bundle())
        file.flush()
        return load(file.name)


def _try_image(encoded: bytes, folder: Path) -> Attempts:
    from tmkd_deploy.runtime.image import read_rgb

    def read() -> None:
        pixels = read_rgb(encoded)
        if str(pixels.dtype) != "uint8" or pixels.ndim != 3 or pixels.shape[2] != 3:
            from invariants import ViolatedError

            raise ViolatedError("meaning", f"{pixels.dtype} {pixels.shape}", "runtime/image.py")

    yield read
    path = folder / "image.png"
    path.write_bytes(encoded)
    yield lambda: _classifier().predict(path)


TARGETS = [
    Target(
        "images",
        _images,
        lambda: originals()["png"],
        _try_image,
        runtime_errors,
        share=8,
        needs=("onnx", "onnxruntime"),
    ),
]
