"""Folders of images, and the paths of data sets as a recipe names them."""

from __future__ import annotations

import os
from pathlib import Path

from hypothesis import strategies as st
from mutations import TEXTS

from fuzzed.data import png_images, prepare_source, sound_folder
from fuzzed.images import originals
from fuzzed.target import Attempts, Target, tmkd_errors


def _sound() -> list[tuple[bytes, bytes]]:
    return [(name.encode(), content) for name, content in sound_folder()]


@st.composite
def _folders(draw: st.DrawFn) -> list[tuple[bytes, bytes]]:
    """Files by path; a content that begins with LINK is a link."""
    names = [
        *TEXTS[:12],
        "good",
        "bad",
        "a\udcff",
        "\x1b[2J",
        ".hidden",
        "\u202e",
        "a" * 250,
        "a\nb",
    ]
    files = _sound()
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
            files[at] = (
                path,
                draw(st.sampled_from(sorted(originals().values())) | st.binary(max_size=30)),
            )
        elif what == "link":
            files[at] = (
                path,
                b"LINK" + draw(st.sampled_from([b"/nonexistent", b".", b"0.png", b"../.."])),
            )
        elif what == "deep":
            files[at] = (path.split(b"/")[0] + b"/d" * 60 + b"/x.png", content)
        elif len(files) > 1:
            del files[at]
    return files


def _try_folder(files: list[tuple[bytes, bytes]], folder: Path) -> Attempts:
    root = folder / "data"
    root.mkdir()
    for name, content in files:
        inside = name.replace(b"\0", b"").lstrip(b"/").replace(b"..", b"_")
        path = root / os.fsdecode(inside)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            if content.startswith(b"LINK"):
                path.symlink_to(os.fsdecode(content[4:]))
            else:
                path.write_bytes(content)
        except OSError:
            continue  # a name that this file system does not allow
    yield lambda: prepare_source("folder", root, folder)


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
        (folder / name / "0.png").write_bytes(png_images()[0])

    def read() -> None:
        # below the work folder, so that a pattern does not list the machine
        spec = Data(source=source, path=folder / text.lstrip("/"), image_size=16)  # type: ignore[arg-type]
        source_fingerprint(spec)

    yield read


TARGETS = [
    Target(
        "image folders",
        _folders,
        _sound,
        _try_folder,
        tmkd_errors,
        share=1,
    ),
    Target("data paths", _paths, lambda: ("folder", ""), _try_path, tmkd_errors, share=1),
]
