"""Bundles, from the zip archive to the arrays and the engine in it."""

from __future__ import annotations

import functools
import hashlib
import json
import zipfile
from io import BytesIO
from pathlib import Path

from hypothesis import strategies as st
from invariants import command
from mutations import Field, json_texts, mutated

from fuzzed.target import Attempts, Target, runtime_errors, tmkd_errors

NEEDS = ("onnx", "onnxruntime")


@functools.cache
def bundle() -> bytes:
    """A small real bundle with all that one may have."""
    import tempfile

    import colour_bundle

    from tmkd_deploy.runtime import BuildRecipe, MadeFor
    from tmkd_deploy.runtime.decision import Decision

    with tempfile.TemporaryDirectory() as folder:
        onnx = Path(folder) / "source.onnx"
        onnx.write_bytes(colour_bundle.colour_model())
        path, _ = colour_bundle.packed(
            Path(folder),
            decision=Decision(1, 0.01),
            made_for=MadeFor("10.3.0.30", 87, None),
            build=BuildRecipe("model-0.onnx", "int8", "strong", 64, 0),
            onnx=onnx,
        )
        return path.read_bytes()


@functools.cache
def members() -> dict[str, bytes]:
    """The bundle's contents."""
    with zipfile.ZipFile(BytesIO(bundle())) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def packed(contents: dict[str, bytes]) -> bytes:
    """A bundle of these members, whatever they are."""
    stream = BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_STORED) as archive:
        for name, content in contents.items():
            archive.writestr(zipfile.ZipInfo(name), content)
    return stream.getvalue()


def with_member(name: str, content: bytes) -> bytes:
    """The bundle with another member, and a manifest that fits it."""
    document = json.loads(members()["manifest.json"])
    digest = hashlib.sha256(content).hexdigest()
    document["files"][name] = {"bytes": len(content), "sha256": digest}
    return packed({**members(), name: content, "manifest.json": json.dumps(document).encode()})


def _zip_fields(raw: bytes) -> list[Field]:
    fields: list[Field] = []
    for magic, shape in (
        (b"PK\3\4", (4, 2, 2, 2, 2, 2, 4, 4, 4, 2, 2)),
        (b"PK\1\2", (4, 2, 2, 2, 2, 2, 2, 4, 4, 4, 2, 2, 2, 2, 2, 4, 4)),
        (b"PK\5\6", (4, 2, 2, 2, 2, 4, 4, 2)),
    ):
        at = raw.find(magic)
        while at >= 0:
            offset = at
            for size in shape:
                fields.append(Field(offset, size))
                offset += size
            at = raw.find(magic, at + 4)
    return fields


NAMES = [
    *("../engine.onnx", "/etc/passwd", "a/b", "a\\b", "..", ".hidden", "folder/", "", "é", "\0"),
    *("manifest.json", "golden_inputs-0.npy", "engine-0.onnx", "ENGINE.ONNX", "\x1b[2J", "\u202e"),
    "a" * 300,
]


@st.composite
def _zips(draw: st.DrawFn) -> bytes:
    """The bundle with its bytes or its structure changed."""
    raw = bundle()
    if draw(st.integers(0, 2)):
        return draw(
            mutated(raw, _zip_fields(raw), pieces=[b"PK\3\4", b"PK\1\2", b"PK\5\6", b"PK\6\6"])
        )
    entries = list(members().items())
    for _ in range(draw(st.integers(1, 2))):
        at = draw(st.integers(0, len(entries) - 1))
        name, content = entries[at]
        what = draw(st.sampled_from(["rename", "drop", "repeat", "add", "cut", "swap"]))
        if what == "rename":
            entries[at] = (draw(st.sampled_from(NAMES)), content)
        elif what == "drop" and len(entries) > 1:
            del entries[at]
        elif what == "repeat":
            entries.append((name, draw(st.sampled_from([content, b"", content[::-1]]))))
        elif what == "add":
            entries.append((draw(st.sampled_from(NAMES)), draw(st.binary(max_size=20))))
        elif what == "cut":
            entries[at] = (name, content[: draw(st.integers(0, len(content)))])
        else:
            entries[0], entries[at] = entries[at], entries[0]
    return _written(draw, entries)


def _written(draw: st.DrawFn, entries: list[tuple[str, bytes]]) -> bytes:
    import warnings

    stream = BytesIO()
    with warnings.catch_warnings(), zipfile.ZipFile(stream, "w") as archive:
        warnings.simplefilter("ignore")  # that a name is given twice is the point
        for name, content in entries:
            entry = zipfile.ZipInfo(name)
            if draw(st.integers(0, 9)) == 0:
                entry.external_attr = draw(st.sampled_from([0o120777, 0o040755, 0o010644])) << 16
            kinds = [zipfile.ZIP_STORED] * 9 + [zipfile.ZIP_DEFLATED]
            archive.writestr(entry, content, draw(st.sampled_from(kinds)))
        if draw(st.integers(0, 9)) == 0:
            archive.comment = b"PK\5\6" + bytes(18)
    return stream.getvalue()


def try_bundle(raw: bytes, folder: Path) -> Attempts:
    from tmkd_deploy.runtime import load, verify

    path = folder / "a.tmkd"
    path.write_bytes(raw)
    yield lambda: verify(path)

    def predict() -> None:
        import numpy as np

        classifier = load(path, verify=False)
        images = [np.zeros((3, 5, 3), np.uint8)] * 3
        found = classifier.predict_batch(images)
        if len(found) != len(images):
            from invariants import ViolatedError

            raise ViolatedError("meaning", "one answer an image is promised", "predict_batch")

    yield predict


def _try_commands(raw: bytes, folder: Path) -> Attempts:
    yield from try_bundle(raw, folder)
    path = str(folder / "a.tmkd")
    yield lambda: command("bundle", "show", path)


def _manifests() -> st.SearchStrategy[bytes]:
    return json_texts(json.loads(members()["manifest.json"]))


def _try_manifest(content: bytes, folder: Path) -> Attempts:
    yield from _try_commands(packed({**members(), "manifest.json": content}), folder)


def documented() -> tuple[type[BaseException], ...]:
    """The errors of the runtime and of the command line."""
    return (*runtime_errors(), *tmkd_errors())


TARGETS = [
    Target(
        "bundles",
        _zips,
        bundle,
        _try_commands,
        documented,
        share=4,
        needs=NEEDS,
    ),
    Target(
        "bundle manifests",
        _manifests,
        lambda: members()["manifest.json"],
        _try_manifest,
        documented,
        share=4,
        needs=NEEDS,
    ),
]
