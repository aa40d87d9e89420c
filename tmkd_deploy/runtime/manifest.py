"""A bundle's `manifest.json`, parsed as untrusted input."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, get_args

from tmkd_deploy.runtime.manifest_engine import BundledEngine, parse_engine
from tmkd_deploy.runtime.manifest_fields import UnfitError, require, take
from tmkd_deploy.runtime.preprocess import Preprocessing, ResizeMode
from tmkd_deploy.runtime.strict_json import parse_object

FORMAT_VERSION = 3
# Versions 1 and 2 describe their only engine beside what is shared. Version 1 has no `resize`,
# `grayscale` and `decision`: its images are squashed and keep their colours, and the highest logit
# is the answer.
READABLE_VERSIONS = (1, 2, FORMAT_VERSION)
MANIFEST = "manifest.json"
GOLDEN_PREPROCESSED = "golden_preprocessed.npy"
MEMBER_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
MOST_ENGINES = 16
INPUT = {
    "channels": 3,
    "layout": "NHWC",
    "dtype": "uint8",
    "colour": "RGB",
    "interpolation": "bilinear",
}
OUTPUT = {"kind": "logits", "dtype": "float32"}
_GOLDEN = {"inputs": "golden_inputs.npy", "outputs": "golden_outputs.npy"}  # up to version 2


@dataclass(frozen=True)
class FileEntry:
    """Size in bytes and SHA-256 of a member."""

    bytes: int
    sha256: str


@dataclass(frozen=True)
class Manifest:
    """A bundle's description of itself.

    Attributes:
        format_version: 1, 2 or 3.
        name: the recipe's name.
        tool_version: the version of tmkd-deploy that created the bundle.
        class_names: names of the classes, in the order of the logits.
        height: of the engines' input in pixels.
        width: of the engines' input in pixels.
        resize: how images of another shape are made to fit: `squash`, `letterbox` or `crop`.
        grayscale: whether images are reduced to their brightness.
        engines: at least one, in order of preference. `Classifier.engine` is the one that runs.
        files: size and hash of each member, by name.
    """

    format_version: int
    name: str
    tool_version: str
    class_names: tuple[str, ...]
    height: int
    width: int
    resize: ResizeMode
    grayscale: bool
    engines: tuple[BundledEngine, ...]
    files: dict[str, FileEntry]

    @property
    def preprocessing(self) -> Preprocessing:
        """From RGB pixels of any size to the engines' input."""
        return Preprocessing(self.height, self.width, self.resize, self.grayscale)


def parse(raw: bytes) -> Manifest:
    """Parse a manifest from UTF-8 JSON.

    Raises:
        UnfitError: it is not a valid manifest of this format version.
    """
    try:
        document = parse_object(raw)
    except ValueError as error:
        raise UnfitError(f"its manifest {error}") from error
    version = take(document, "format_version", int)
    if version not in READABLE_VERSIONS:
        raise UnfitError(
            f"its format version is {version}, "
            f"but this version of tmkd-deploy reads {READABLE_VERSIONS[0]} to {FORMAT_VERSION}"
        )
    image, output = take(document, "input", dict), take(document, "output", dict)
    for key, expected in INPUT.items():
        require(image.get(key) == expected, f"input.{key}")
    for key, expected in OUTPUT.items():
        require(output.get(key) == expected, f"output.{key}")
    if version == 1:
        image = {**image, "resize": "squash", "grayscale": False}
    class_names = _class_names(document)
    manifest = Manifest(
        format_version=version,
        name=take(document, "name", str),
        tool_version=take(document, "tool_version", str),
        class_names=class_names,
        height=take(image, "height", int),
        width=take(image, "width", int),
        resize=_resize_mode(image),
        grayscale=take(image, "grayscale", bool),
        engines=tuple(parse_engine(each, class_names) for each in _engines(document, version)),
        files=_files(take(document, "files", dict)),
    )
    _check(manifest)
    return manifest


def _class_names(document: dict[str, Any]) -> tuple[str, ...]:
    names = take(document, "class_names", list)
    require(all(isinstance(name, str) for name in names), "class_names")
    require(len(names) > 0 and len(set(names)) == len(names), "class_names")
    return tuple(names)


def _engines(document: dict[str, Any], version: int) -> list[dict[str, Any]]:
    """The entries of `engines`; up to version 2, the manifest itself is the only one."""
    if version < 3:
        require(version > 1 or "decision" not in document, "decision")  # its readers ignored it
        golden = {**take(document, "golden", dict), **_GOLDEN}
        return [{**document, "golden": golden, "made_for": None, "build": None}]
    engines = take(document, "engines", list)
    require(1 <= len(engines) <= MOST_ENGINES, "engines")
    require(all(isinstance(engine, dict) for engine in engines), "engines")
    return engines


def _check(manifest: Manifest) -> None:
    require(1 <= manifest.height <= 8192, "input.height")
    require(1 <= manifest.width <= 8192, "input.width")
    shared = set() if manifest.format_version == 1 else {GOLDEN_PREPROCESSED}
    for engine in manifest.engines:
        require({*engine.members, *shared} <= set(manifest.files), "files")
    golden = {each for e in manifest.engines for each in (e.golden_inputs, e.golden_outputs)}
    for engine in manifest.engines:
        require(engine.engine not in {*golden, GOLDEN_PREPROCESSED}, "engine")


def _resize_mode(image: dict[str, Any]) -> ResizeMode:
    mode: ResizeMode
    for mode in get_args(ResizeMode):
        if image.get("resize") == mode:
            return mode
    raise UnfitError("its manifest's 'input.resize' is missing or invalid")


def _files(entries: dict[str, Any]) -> dict[str, FileEntry]:
    files = {}
    for name, entry in entries.items():
        require(MEMBER_NAME.fullmatch(name) is not None and name != MANIFEST, "files")
        require(isinstance(entry, dict), f"files.{name}")
        size, digest = take(entry, "bytes", int), take(entry, "sha256", str)
        require(size >= 0 and re.fullmatch("[0-9a-f]{64}", digest) is not None, f"files.{name}")
        files[name] = FileEntry(bytes=size, sha256=digest)
    return files
