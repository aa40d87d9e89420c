"""A bundle's `manifest.json`, parsed as untrusted input."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Any, TypeVar, get_args

from tmkd_deploy.runtime.decision import Decision
from tmkd_deploy.runtime.preprocess import Preprocessing, ResizeMode
from tmkd_deploy.runtime.strict_json import parse_object

FORMAT_VERSION = 2
# Version 1 has no `resize`, `grayscale` and `decision`: its images are squashed and keep their
# colours, and the highest logit is the answer.
READABLE_VERSIONS = (1, FORMAT_VERSION)
MANIFEST = "manifest.json"
GOLDEN_INPUTS = "golden_inputs.npy"
GOLDEN_OUTPUTS = "golden_outputs.npy"
GOLDEN_PREPROCESSED = "golden_preprocessed.npy"
MEMBER_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
INPUT = {
    "channels": 3,
    "layout": "NHWC",
    "dtype": "uint8",
    "colour": "RGB",
    "interpolation": "bilinear",
}
OUTPUT = {"kind": "logits", "dtype": "float32"}
OUTCOMES = ("passed", "failed", "inconclusive", "not_judged")

T = TypeVar("T")


class UnfitError(ValueError):
    """The bundle is unusable; the message completes "The bundle cannot be used: ..."."""


@dataclass(frozen=True)
class FileEntry:
    """Size in bytes and SHA-256 of a member."""

    bytes: int
    sha256: str


@dataclass(frozen=True)
class Manifest:
    """A bundle's description of itself.

    Attributes:
        format_version: 1 or 2.
        name: the recipe's name.
        target: the target the engine was built for.
        runtime: `onnxruntime`, `tensorrt` or `tensorrt_rtx`.
        precision: `fp32`, `fp16` or `int8`.
        engine: name of the engine's member.
        class_names: names of the classes, in the order of the logits.
        height: of the engine's input in pixels.
        width: of the engine's input in pixels.
        resize: how images of another shape are made to fit: `squash`, `letterbox` or `crop`.
        grayscale: whether images are reduced to their brightness.
        golden_tolerance: largest allowed absolute difference of a golden image's logit.
        threads: number of threads the engine was timed with; None if it was not timed.
        gate: outcome of the gate: `passed`, `failed`, `inconclusive` or `not_judged`.
        gate_checks: the gate's checks with their limits, measured values and explanations.
        accuracy: the measured accuracy; None if not measured.
        latency: the measured latency in milliseconds; None if not measured.
        tool_version: the version of tmkd-deploy that created the bundle.
        files: size and hash of each member, by name.
        guarded_class: the class that must not be missed, with a threshold of its own; None if the
            class with the highest logit is the answer.
        threshold: the probability from which an image is of that class, in [0, 1]; None likewise.
        golden_classes: the classes of the golden images under that threshold; None likewise.
    """

    format_version: int
    name: str
    target: str
    runtime: str
    precision: str
    engine: str
    class_names: tuple[str, ...]
    height: int
    width: int
    resize: ResizeMode
    grayscale: bool
    golden_tolerance: float
    threads: int | None
    gate: str
    gate_checks: tuple[dict[str, Any], ...]
    accuracy: dict[str, Any] | None
    latency: dict[str, Any] | None
    tool_version: str
    files: dict[str, FileEntry]
    guarded_class: str | None = None
    threshold: float | None = None
    golden_classes: tuple[str, ...] | None = None

    @property
    def decision(self) -> Decision | None:
        """How logits become a class; None for the highest."""
        return Decision.of(self.class_names, self.guarded_class, self.threshold)

    @property
    def preprocessing(self) -> Preprocessing:
        """From RGB pixels of any size to the engine's input."""
        return Preprocessing(self.height, self.width, self.resize, self.grayscale)

    @property
    def golden_members(self) -> tuple[str, ...]:
        """The names of the members that verification reads; version 1 lacks the last."""
        members = (GOLDEN_INPUTS, GOLDEN_OUTPUTS, GOLDEN_PREPROCESSED)
        return members[:2] if self.format_version == 1 else members


def parse(raw: bytes) -> Manifest:
    """Parse a manifest from UTF-8 JSON.

    Raises:
        UnfitError: it is not a valid manifest of this format version.
    """
    try:
        document = parse_object(raw)
    except ValueError as error:
        raise UnfitError(f"its manifest {error}") from error
    version = _take(document, "format_version", int)
    if version not in READABLE_VERSIONS:
        raise UnfitError(
            f"its format version is {version}, "
            f"but this version of tmkd-deploy reads {' and '.join(map(str, READABLE_VERSIONS))}"
        )
    image = _take(document, "input", dict)
    output = _take(document, "output", dict)
    golden = _take(document, "golden", dict)
    gate = _take(document, "gate", dict)
    for key, expected in INPUT.items():
        _require(image.get(key) == expected, f"input.{key}")
    for key, expected in OUTPUT.items():
        _require(output.get(key) == expected, f"output.{key}")
    if version == 1:
        image = {**image, "resize": "squash", "grayscale": False}
    manifest = Manifest(
        format_version=version,
        name=_take(document, "name", str),
        target=_take(document, "target", str),
        runtime=_take(document, "runtime", str),
        precision=_take(document, "precision", str),
        engine=_take(document, "engine", str),
        class_names=tuple(_take(document, "class_names", list)),
        height=_take(image, "height", int),
        width=_take(image, "width", int),
        resize=_resize_mode(image),
        grayscale=_take(image, "grayscale", bool),
        golden_tolerance=_take(golden, "tolerance", float),
        threads=_optional(document, "threads", int),
        gate=_take(gate, "outcome", str),
        gate_checks=tuple(_take(gate, "checks", list)),
        accuracy=_optional(document, "accuracy", dict),
        latency=_optional(document, "latency", dict),
        tool_version=_take(document, "tool_version", str),
        files=_files(_take(document, "files", dict)),
        **_decision(document, golden, version),
    )
    _check(manifest)
    return manifest


def _check(manifest: Manifest) -> None:
    names = manifest.class_names
    _require(all(isinstance(name, str) for name in names), "class_names")
    _require(len(names) > 0 and len(set(names)) == len(names), "class_names")
    _require(1 <= manifest.height <= 8192, "input.height")
    _require(1 <= manifest.width <= 8192, "input.width")
    _require(0 <= manifest.golden_tolerance < math.inf, "golden.tolerance")
    _require(manifest.threads is None or manifest.threads >= 1, "threads")
    _require(manifest.gate in OUTCOMES, "gate.outcome")
    _require(all(isinstance(check, dict) for check in manifest.gate_checks), "gate.checks")
    _require(manifest.engine not in manifest.golden_members, "engine")
    _require({manifest.engine, *manifest.golden_members} <= set(manifest.files), "files")
    if manifest.threshold is not None:
        _require(manifest.guarded_class in names, "decision.class")
        _require(0 <= manifest.threshold <= 1, "decision.threshold")
    _require(all(name in names for name in manifest.golden_classes or ()), "golden.classes")


def _decision(document: dict[str, Any], golden: dict[str, Any], version: int) -> dict[str, Any]:
    """The fields of `Manifest` on a threshold; none if there is no `decision`."""
    if "decision" not in document:
        _require("classes" not in golden, "decision")
        return {}
    _require(version > 1, "decision")  # which readers of that version would ignore
    decision = _take(document, "decision", dict)
    return {
        "guarded_class": _take(decision, "class", str),
        "threshold": _take(decision, "threshold", float),
        "golden_classes": tuple(_take(golden, "classes", list)),
    }


def _resize_mode(image: dict[str, Any]) -> ResizeMode:
    mode: ResizeMode
    for mode in get_args(ResizeMode):
        if image.get("resize") == mode:
            return mode
    raise UnfitError("its manifest's 'input.resize' is missing or invalid")


def _files(entries: dict[str, Any]) -> dict[str, FileEntry]:
    files = {}
    for name, entry in entries.items():
        _require(MEMBER_NAME.fullmatch(name) is not None and name != MANIFEST, "files")
        _require(isinstance(entry, dict), f"files.{name}")
        size, digest = _take(entry, "bytes", int), _take(entry, "sha256", str)
        _require(size >= 0 and re.fullmatch("[0-9a-f]{64}", digest) is not None, f"files.{name}")
        files[name] = FileEntry(bytes=size, sha256=digest)
    return files


def _take(document: dict[str, Any], key: str, kind: type[T]) -> T:
    value = document.get(key)
    if kind is float and type(value) is int:
        value = float(value)
    # bool is a subclass of int, but not a number in a manifest
    if type(value) is not kind:
        raise UnfitError(f"its manifest's {key!r} is missing or invalid")
    return value


def _optional(document: dict[str, Any], key: str, kind: type[T]) -> T | None:
    return None if document.get(key) is None else _take(document, key, kind)


def _require(holds: bool, key: str) -> None:
    if not holds:
        raise UnfitError(f"its manifest's {key!r} is missing or invalid")
