"""The same bundle in every format version, whichever of them is packed today."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from colour_bundle import contents_of, write_zip

PICTURES = "golden_preprocessed.npy"
OF_AN_ENGINE = (
    *("target", "runtime", "precision", "engine", "golden", "decision", "gate"),
    *("accuracy", "latency", "threads", "made_for", "build"),
)
MADE_FOR = {"release": "10.3.0.30", "compute_capability": 87, "dla_core": None}
PLAN = {"runtime": "tensorrt", "made_for": MADE_FOR}
BUILD = {
    "onnx": "engine.onnx",
    "precision": "int8",
    "typing": "strong",
    "workspace_mb": 512,
    "dla_core": None,
}


def entry_of(document: dict[str, Any]) -> dict[str, Any]:
    """What describes the first engine."""
    return document["engines"][0] if "engines" in document else document


def as_version(path: Path, version: int) -> Path:
    """Rewrites a bundle of one engine in a format version."""
    members = contents_of(path)
    document = json.loads(members.pop("manifest.json"))
    entry = {key: entry_of(document).get(key) for key in OF_AN_ENGINE}
    if entry["decision"] is None:
        del entry["decision"]
    names = {
        entry["golden"].pop("inputs", "golden_inputs.npy"): "golden_inputs.npy",
        entry["golden"].pop("outputs", "golden_outputs.npy"): "golden_outputs.npy",
        entry["engine"]: "engine.onnx",
        PICTURES: PICTURES,
    }
    shared = {key: document[key] for key in document if key not in (*OF_AN_ENGINE, "engines")}
    if version == 3:
        golden = {"inputs": "golden_inputs.npy", "outputs": "golden_outputs.npy"}
        entry["golden"] |= golden
        shared["engines"] = [entry | {"engine": "engine.onnx"}]
    else:
        del entry["made_for"], entry["build"]
        shared |= entry | {"engine": "engine.onnx"}
    if version == 1:
        del names[PICTURES], shared["input"]["resize"], shared["input"]["grayscale"]
    members = {names[name]: members[name] for name in members if name in names}
    return _write(path, shared | {"format_version": version}, members)


def with_engines(path: Path, changes: list[dict[str, Any]]) -> Path:
    """Rewrites a bundle of version 3 so that it has an engine for each of `changes`, on its own."""
    members = contents_of(path)
    document = json.loads(members.pop("manifest.json"))
    (entry,) = document["engines"]
    document["engines"] = [entry | change for change in changes]
    return _write(path, document, members)


def _write(path: Path, document: dict[str, Any], members: dict[str, bytes]) -> Path:
    document["files"] = {
        name: {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
        for name, content in members.items()
    }
    text = json.dumps(document, ensure_ascii=False).encode()
    return write_zip(path, [("manifest.json", text), *members.items()])
