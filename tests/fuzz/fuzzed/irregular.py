"""What stands where a file is expected: a pipe, for example, would be waited for for ever."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from hypothesis import strategies as st
from invariants import command

from fuzzed import data
from fuzzed.target import Attempts, Target, runtime_errors, tmkd_errors

KINDS = ["pipe", "device", "folder", "loop", "socket", "nothing"]
NAMES = {
    "image": "data/a/0.png",
    "shard": "0.tar",
    "parquet": "0.parquet",
    "recipe": "recipe.yaml",
    "bundle": "a.tmkd",
    "summary": "summary.json",
    "manifest": "measure/manifest.json",
    "logits": "measure/logits-fp32.npy",
    "picture": "picture.png",
}


def _make(kind: str, path: Path) -> None:
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "device":
        path.symlink_to("/dev/zero")
    elif kind == "folder":
        path.mkdir()
    elif kind == "loop":
        path.symlink_to(path)
    elif kind == "socket":
        os.mknod(path, 0o140600)


def _try_irregular(case: tuple[str, str], folder: Path) -> Attempts:
    place, kind = case
    for name, content in data.sound_folder():
        path = folder / "data" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    path = folder / NAMES[place]
    if kind != "sound":
        path.unlink(missing_ok=True)
        _put(place, kind, path)
    yield _use(place, path, folder)


def _put(place: str, kind: str, path: Path) -> None:
    if path.parent.name == "measure":
        from fuzzed.files import write_artifact

        write_artifact(path.parent)
        path.unlink()
    _make(kind, path)


def _use(place: str, path: Path, folder: Path) -> Callable[[], object]:
    """What reads `path`."""
    from tmkd_deploy import artifacts
    from tmkd_deploy.recipe.load import load
    from tmkd_deploy.records.measurements import Measurements
    from tmkd_deploy.runtime import verify
    from tmkd_deploy.runtime.image import read_rgb

    prepared = data.prepare_source
    uses: dict[str, Callable[[], object]] = {
        "image": lambda: prepared("folder", folder / "data", folder),
        "shard": lambda: prepared("webdataset", path, folder),
        "parquet": lambda: prepared("parquet", path, folder),
        "recipe": lambda: load(path),
        "bundle": lambda: verify(path),
        "summary": lambda: command("compare", str(path), str(path)),
        "manifest": lambda: artifacts.read(path.parent, "measure", Measurements),
        "logits": lambda: artifacts.read(path.parent, "measure", Measurements),
        "picture": lambda: read_rgb(path),
    }
    return uses[place]


TARGETS = [
    Target(
        "irregular files",
        lambda: st.tuples(st.sampled_from(sorted(NAMES)), st.sampled_from(KINDS)),
        lambda: ("image", "sound"),
        _try_irregular,
        lambda: (*tmkd_errors(), *runtime_errors()),
        share=0.1,
        needs=("onnx", "pyarrow"),
    )
]
