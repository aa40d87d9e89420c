"""Ways to damage a bundle or to make it harm, which no runtime may accept."""

from __future__ import annotations

import hashlib
import json
import os
import stat
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from colour_bundle import (
    SIDE,
    colour_model,
    contents_of,
    npy,
    with_manifest,
    with_member,
    write_zip,
)
from format_versions import entry_of

Change = Callable[[Path], object]


def added(name: str | zipfile.ZipInfo, content: bytes = b"x") -> Change:
    """One more member."""
    return lambda path: write_zip(path, [*contents_of(path).items(), (name, content)])


def without(name: str) -> Change:
    return lambda path: write_zip(
        path, [(each, content) for each, content in contents_of(path).items() if each != name]
    )


def text(manifest: bytes) -> Change:
    """Another manifest altogether."""
    return lambda path: write_zip(
        path, list((contents_of(path) | {"manifest.json": manifest}).items())
    )


def document(change: Callable[[dict[str, Any]], object]) -> Change:
    return lambda path: with_manifest(path, change)


def entry(change: Callable[[dict[str, Any]], object]) -> Change:
    return document(lambda whole: change(entry_of(whole)))


def member(name: str, content: bytes) -> Change:
    """A member replaced, with its size and hash made to fit."""
    return lambda path: with_member(path, name, content)


def link() -> Change:
    info = zipfile.ZipInfo("link")
    info.external_attr = (stat.S_IFLNK | 0o777) << 16
    return added(info, b"/etc/passwd")


def replaced(path: Path) -> None:
    """The engine exchanged, and every CRC of the zip right."""
    members = contents_of(path)
    engine = bytearray(members["engine.onnx"])
    engine[-1] ^= 1
    write_zip(path, list((members | {"engine.onnx": bytes(engine)}).items()))


def flipped(path: Path) -> None:
    raw = bytearray(path.read_bytes())
    raw[raw.index(colour_model()) + 40] ^= 1
    path.write_bytes(raw)


def compressed(path: Path) -> None:
    members = contents_of(path)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)


def encrypted(path: Path) -> None:
    """Every member marked as encrypted, in both places."""
    raw = bytearray(path.read_bytes())
    for signature, flags in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        at = raw.find(signature)
        while at >= 0:
            raw[at + flags] |= 1
            at = raw.find(signature, at + 1)
    path.write_bytes(raw)


def exaggerated(path: Path) -> None:
    """Sizes that no file of this size can hold."""
    size = len(colour_model()).to_bytes(4, "little")
    huge = (1_500_000_000).to_bytes(4, "little")
    path.write_bytes(path.read_bytes().replace(size + size, huge + huge))


def enormous(path: Path) -> None:
    with path.open("r+b") as stream:
        os.truncate(stream.fileno(), (2 << 30) + 1)  # sparse: it takes no room


def pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


PIXELS = np.zeros((3, SIDE, SIDE, 3), np.uint8)
EMPTY = {"bytes": 0, "sha256": hashlib.sha256(b"").hexdigest()}
NAMES = ("../x", "/etc/passwd", "a/b", "a\\b", "C:x", "..", ".hidden", "folder/", "x" * 129, "é")
ESCAPES = ("\x1b]52;c;aGk=\x07", "two\nlines", "\x00", "\x7f", "\u2028", "\u202egnp.exe", "\udc80")

HOSTILE: dict[str, Change] = {
    "nothing": lambda path: path.write_bytes(b""),
    "noise": lambda path: path.write_bytes(bytes(range(256)) * 9),
    "absent": lambda path: path.unlink(),
    **{change.__name__: change for change in (replaced, flipped, compressed, encrypted)},
    **{change.__name__: change for change in (exaggerated, enormous, pipe, folder)},
    **{f"member {name!r}": added(name) for name in NAMES},
    "undeclared": added("extra.bin"),
    "twice": added("engine.onnx", b"another"),
    "link": link(),
    **{f"without {name}": without(name) for name in ("engine.onnx", "manifest.json")},
    **{f"manifest {raw!r}": text(raw) for raw in (b"", b"\xff", b"[]", b"null", b"{")},
    "deep": text(b"[" * 100_000),
    "large": text(b" " * (4 << 20) + b"{}"),
    "later": document(lambda whole: whole.update(format_version=99)),
    "declared elsewhere": document(lambda whole: whole["files"].update({"../x": EMPTY})),
    "digest": document(lambda whole: whole["files"]["engine.onnx"].update(sha256="0")),
    "size": document(lambda whole: whole["files"]["engine.onnx"].update(bytes=-1)),
    **{
        f"{key} {value!r}": document(lambda whole, key=key, value=value: whole.update({key: value}))
        for key in ("name", "class_names", "input", "output", "tool_version", "files")
        for value in (None, True, [], 7)
    },
    **{
        f"{key} {value!r}": entry(lambda one, key=key, value=value: one.update({key: value}))
        for key in ("target", "runtime", "precision", "engine", "golden", "gate")
        for value in (None, True, [], {}, 7)
    },
    **{
        f"input.{key} {value!r}": document(
            lambda whole, key=key, value=value: whole["input"].update({key: value})
        )
        for key, value in {
            "layout": "NCHW",
            "height": 0,
            "width": 8193,
            "channels": 4,
            "colour": "BGR",
        }.items()
    },
    **{
        f"classes {escape!r}": document(
            lambda whole, escape=escape: whole.update(class_names=["red", "green", escape])
        )
        for escape in ESCAPES
    },
    "class twice": document(lambda whole: whole.update(class_names=["red", "red", "blue"])),
    "endless": entry(lambda one: one.update(runtime="r" * 4097)),
    "tolerance": entry(lambda one: one["golden"].update(tolerance=-1)),
    "outcome": entry(lambda one: one["gate"].update(outcome="splendid")),
    "threads": entry(lambda one: one.update(threads=0)),
    "engine is golden": entry(lambda one: one.update(engine="golden_inputs.npy")),
    "guarded nobody": entry(lambda one: one.update(decision={"class": "pink", "threshold": 0.5})),
    "guarded": entry(lambda one: one.update(decision={"class": "red", "threshold": 2})),
    **{
        f"golden {number}": member("golden_inputs.npy", content)
        for number, content in enumerate(
            (
                b"",
                b"\x93NUMPY",
                npy(PIXELS.astype(np.float32)),
                npy(PIXELS[:0]),
                npy(PIXELS[:, :, :1]),
                npy(PIXELS)[:-1],
                npy(PIXELS).replace(b"(3, 8", b"(3000000, 8"),
                npy(PIXELS).replace(b"False", b"True "),
                npy(np.asfortranarray(PIXELS)),
            )
        )
    },
    "golden logits": member("golden_outputs.npy", npy(np.full((3, 3), np.nan, np.float32))),
    "other engine": member(
        "engine.onnx", colour_model(np.eye(3, dtype=np.float32)[[1, 0, 2]] / 16)
    ),
    "no engine": member("engine.onnx", b"none"),
}


def copies(bundle: Path, folder: Path) -> dict[str, Path]:
    """A copy of the bundle for each way to spoil it."""
    made = {}
    for number, (name, change) in enumerate(HOSTILE.items()):
        path = folder / f"{number}.tmkd"
        path.write_bytes(bundle.read_bytes())
        change(path)
        made[name] = path
    return made


def overlapping(path: Path) -> Path:
    """A member whose bytes are part of another's; Python's zipfile may let that pass."""
    members = contents_of(path)
    write_zip(path, [("inner.bin", b"inside")])
    entry = path.read_bytes()[: 30 + len("inner.bin") + len(b"inside")]
    members |= {"outer.bin": entry, "inner.bin": b"inside"}
    whole = json.loads(members["manifest.json"])
    for name in ("outer.bin", "inner.bin"):
        digest = hashlib.sha256(members[name]).hexdigest()
        whole["files"][name] = {"bytes": len(members[name]), "sha256": digest}
    members["manifest.json"] = json.dumps(whole).encode()
    write_zip(path, list(members.items()))
    raw = bytearray(path.read_bytes())
    directory = raw.rindex(b"inner.bin") - 46
    raw[directory + 42 : directory + 46] = raw.index(entry).to_bytes(4, "little")
    path.write_bytes(raw)
    return path
