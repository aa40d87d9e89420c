"""Join bundles of one recipe into one, which uses the best engine that runs where it is loaded."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from tmkd_deploy.bundle.pack import npy, write_bundle
from tmkd_deploy.errors import DataError, RequestError
from tmkd_deploy.runtime import BundledEngine, BundleError, Manifest
from tmkd_deploy.runtime.archive import Contents, read_archive
from tmkd_deploy.runtime.golden import preprocessed_pictures
from tmkd_deploy.runtime.manifest import GOLDEN_PREPROCESSED, MOST_ENGINES


def merge(paths: Sequence[Path], into: Path) -> Manifest:
    """Write the engines of all bundles into one, in the order of the bundles.

    Members with the same content are stored once. The bundle is named as the first one is.

    Args:
        paths: at least two bundles of one recipe, with the same classes and input.
        into: the bundle to write; it must not exist yet.

    Raises:
        RequestError: `into` exists, there is one bundle only, or there are too many engines.
        DataError: a bundle cannot be used, or differs from the first; the error says in what.
        OSError: `into` cannot be written.
    """
    if into.exists():
        raise RequestError(
            "This file exists already.", where=str(into), advice="Delete it, or choose another."
        )
    if len(paths) < 2:
        raise RequestError("There is nothing to join.", advice="Name at least two bundles.")
    try:
        bundles = [read_archive(path) for path in paths]
    except BundleError as error:
        raise DataError(error.problem, where=error.where, advice=error.advice) from error
    first = bundles[0]
    for other in bundles[1:]:
        _require_same(first, other)
    _require_different(bundles)
    if sum(len(bundle.manifest.engines) for bundle in bundles) > MOST_ENGINES:
        raise RequestError(
            f"A bundle holds at most {MOST_ENGINES} engines.", advice="Join fewer bundles."
        )
    joined = _Joined()
    for bundle in bundles:
        for engine in bundle.manifest.engines:
            joined.add(bundle, engine)
    manifest = first.manifest
    joined.members[GOLDEN_PREPROCESSED] = first.members.get(
        GOLDEN_PREPROCESSED, npy(preprocessed_pictures(manifest.preprocessing))
    )
    unfinished = into.with_name(f".{into.name}.part")
    try:
        write_bundle(
            unfinished,
            manifest.name,
            manifest.class_names,
            manifest.preprocessing,
            joined.engines,
            joined.members,
        )
        merged = read_archive(unfinished).manifest
        unfinished.replace(into)
    finally:
        unfinished.unlink(missing_ok=True)
    return merged


class _Joined:
    """The entries and members of the new bundle."""

    def __init__(self) -> None:
        self.engines: list[dict[str, Any]] = []
        self.members: dict[str, bytes] = {}
        self._names: dict[str, str] = {}

    def add(self, bundle: Contents, engine: BundledEngine) -> None:
        """Add an engine and its members."""
        number = len(self.engines)

        def stored(member: str, role: str) -> str:
            content = bundle.members[member]
            name = f"{role}-{number}{PurePosixPath(member).suffix}"
            name = self._names.setdefault(hashlib.sha256(content).hexdigest(), name)
            self.members[name] = content
            return name

        golden: dict[str, Any] = {
            "inputs": stored(engine.golden_inputs, "golden_inputs"),
            "outputs": stored(engine.golden_outputs, "golden_outputs"),
            "tolerance": engine.golden_tolerance,
        }
        entry: dict[str, Any] = {
            "target": engine.target,
            "runtime": engine.runtime,
            "precision": engine.precision,
            "engine": stored(engine.engine, "engine"),
            "golden": golden,
            "gate": {"outcome": engine.gate, "checks": list(engine.gate_checks)},
            "accuracy": engine.accuracy,
            "latency": engine.latency,
            "threads": engine.threads,
            "made_for": None,
            "build": None,
        }
        if engine.decision is not None:
            entry["decision"] = {"class": engine.guarded_class, "threshold": engine.threshold}
            golden["classes"] = list(engine.golden_classes or ())
        if engine.made_for is not None:
            entry["made_for"] = vars(engine.made_for)
        if engine.build is not None:
            entry["build"] = {**vars(engine.build), "onnx": stored(engine.build.onnx, "model")}
        self.engines.append(entry)


def _require_same(first: Contents, other: Contents) -> None:
    ours, theirs = first.manifest, other.manifest
    for what, one, another in (
        ("recipe", ours.name, theirs.name),
        ("class names", ", ".join(ours.class_names), ", ".join(theirs.class_names)),
        *(
            (f"input {name}", str(getattr(ours, name)), str(getattr(theirs, name)))
            for name in ("height", "width", "resize", "grayscale")
        ),
    ):
        if one != another:
            raise DataError(
                f"These bundles differ in their {what}: {one[:200]!r} in {first.path.name}, and "
                f"{another[:200]!r} here.",
                where=str(other.path),
                advice="Join bundles of one recipe, made for different targets.",
            )


def _require_different(bundles: Sequence[Contents]) -> None:
    seen: dict[tuple[str, str], Path] = {}
    for bundle in bundles:
        for engine in bundle.manifest.engines:
            key = engine.runtime, bundle.manifest.files[engine.engine].sha256
            if key in seen:
                raise DataError(
                    f"This bundle has the same {engine.precision.upper()} engine for "
                    f"{engine.runtime} as {seen[key].name}, which would always be used.",
                    where=str(bundle.path),
                    advice="Join bundles that were made for different targets.",
                )
            seen[key] = bundle.path
