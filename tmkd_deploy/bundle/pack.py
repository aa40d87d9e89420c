"""The bundle stage: pack an engine and its metadata into one file for applications.

`docs/reference/bundle.md` describes the format. The same inputs give the same bytes.
"""

from __future__ import annotations

import dataclasses
import hashlib
import io
import json
import stat
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from tmkd_deploy import __version__
from tmkd_deploy.artifacts import sha256_of
from tmkd_deploy.errors import ArtifactError, DataError
from tmkd_deploy.records.bundle import BundleRecord
from tmkd_deploy.records.engine_names import engine_name
from tmkd_deploy.records.measurements import Measurements
from tmkd_deploy.records.types import Precision, RuntimeName
from tmkd_deploy.records.verdict import Verdict
from tmkd_deploy.runtime import BundleError, verify
from tmkd_deploy.runtime.decision import Decision, decide, margins
from tmkd_deploy.runtime.golden import preprocessed_pictures
from tmkd_deploy.runtime.manifest import (
    FORMAT_VERSION,
    GOLDEN_PREPROCESSED,
    INPUT,
    MANIFEST,
    OUTPUT,
)
from tmkd_deploy.runtime.manifest_engine import BuildRecipe, MadeFor
from tmkd_deploy.runtime.preprocess import Preprocessing

SUFFIX = ".tmkd"
ONNX_MEMBER = "model-0.onnx"


def pack(
    *,
    name: str,
    engine: Path,
    precision: Precision,
    runtime: RuntimeName,
    measurements: Measurements,
    verdict: Verdict,
    class_names: Sequence[str],
    preprocessing: Preprocessing,
    golden_images: npt.NDArray[np.uint8],
    golden_logits: npt.NDArray[np.float32],
    golden_tolerance: float,
    into: Path,
    decision: Decision | None = None,
    made_for: MadeFor | None = None,
    build: BuildRecipe | None = None,
    onnx: Path | None = None,
) -> BundleRecord:
    """Write `into/<name>-<target>.tmkd` and verify it.

    Verification runs the golden images if this machine can run the engine. The gate's
    outcome is recorded in the bundle, whatever it is.

    Args:
        preprocessing: how the training images were resized.
        golden_images: uint8 [k, height, width, 3], k >= 1, selected by `clearest_images`.
        golden_logits: float32 [k, classes], this engine's output for the golden images.
        golden_tolerance: the largest allowed difference of a logit on another machine.
        decision: the class that must not be missed and its threshold; None if the class with the
            highest logit is the answer.
        made_for: the only kind of machine that a TensorRT plan runs on.
        build: how to build the engine on another machine, from its member `ONNX_MEMBER`.
        onnx: the file to build it from, if there is a `build`.

    Raises:
        ArtifactError: the engine file does not exist.
        DataError: the finished bundle fails verification; no file is left behind.
    """
    if not engine.is_file():
        raise ArtifactError(
            "The engine to bundle does not exist.",
            where=str(engine),
            advice="Build the engines of this target again with: tmkd-deploy export --force",
        )
    engine_member = f"engine-0{engine.suffix}"
    golden = {"inputs": "golden_inputs-0.npy", "outputs": "golden_outputs-0.npy"}
    members = {
        engine_member: engine.read_bytes(),
        golden["inputs"]: npy(golden_images),
        golden["outputs"]: npy(golden_logits),
        GOLDEN_PREPROCESSED: npy(preprocessed_pictures(preprocessing)),
    }
    other_runtime = None if runtime == measurements.runtime else runtime
    if onnx is not None:
        members[ONNX_MEMBER] = onnx.read_bytes()
    entry: dict[str, Any] = {
        "target": measurements.target,
        "runtime": runtime,
        "precision": precision,
        "engine": engine_member,
        "golden": {**golden, "tolerance": golden_tolerance},
        "gate": verdict.model_dump(mode="json", include={"outcome", "checks"}),
        **_metrics(measurements, engine_name(precision, other_runtime)),
        "made_for": made_for and dataclasses.asdict(made_for),
        "build": build and dataclasses.asdict(build),
    }
    if decision is not None:
        entry["decision"] = {
            "class": class_names[decision.label],
            "threshold": decision.threshold,
        }
        decided = decide(golden_logits, decision)
        entry["golden"]["classes"] = [class_names[label] for label in decided]
    path = into / f"{name}-{measurements.target}{SUFFIX}"
    write_bundle(path, name, class_names, preprocessing, [entry], members)
    _verify(path)
    return BundleRecord(
        file=path.name,
        bytes=path.stat().st_size,
        sha256=sha256_of(path),
        target=measurements.target,
        precision=precision,
        runtime=other_runtime,
        gate=verdict.outcome,
    )


def clearest_images(
    logits: npt.NDArray[np.float32], count: int, decision: Decision | None = None
) -> list[int]:
    """Indices of at most `count` images suited as golden images, in ascending order.

    Images are taken from the predicted classes in turn, the largest margin first: on another
    processor, an image near a decision boundary may fall on the other side.

    Args:
        logits: float32 [n, classes].
        count: how many images to select.
        decision: as for `pack`.
    """
    margin = margins(logits, decision)
    predicted = decide(logits, decision)
    # sort by rank within the predicted class, then by margin
    rank = np.empty(len(logits), dtype=np.int64)
    for label in np.unique(predicted):
        rows = np.flatnonzero(predicted == label)
        rank[rows[np.argsort(-margin[rows], kind="stable")]] = np.arange(len(rows))
    return sorted(np.lexsort((-margin, rank))[:count].tolist())


def _metrics(measurements: Measurements, engine: str) -> dict[str, Any]:
    """The measured metrics of the bundled engine; None if not measured."""
    accuracy = measurements.engine_accuracy(engine)
    latency = measurements.engine_latency(engine)
    protocol = measurements.latency.protocol if measurements.latency else {}
    histogram = {"histogram_edges_ms", "histogram_counts"}
    return {
        "accuracy": accuracy and accuracy.model_dump(mode="json", exclude={"runtime"}),
        "latency": latency and latency.model_dump(mode="json", exclude=histogram),
        "threads": protocol.get("threads"),
    }


def npy(array: npt.NDArray[Any]) -> bytes:
    """The array as a .npy file's bytes, without pickle."""
    stream = io.BytesIO()
    np.lib.format.write_array(stream, np.ascontiguousarray(array), (1, 0), allow_pickle=False)
    return stream.getvalue()


def write_bundle(
    path: Path,
    name: str,
    class_names: Sequence[str],
    preprocessing: Preprocessing,
    engines: Sequence[Mapping[str, Any]],
    members: Mapping[str, bytes],
) -> None:
    """Write a bundle of this format version, unverified.

    Args:
        path: of the bundle.
        name: the recipe's.
        class_names: in the order of the logits.
        preprocessing: how images become the engines' input.
        engines: entries of the manifest, the preferred first.
        members: the contents of all members but the manifest, by name.
    """
    document = {
        "format_version": FORMAT_VERSION,
        "tool_version": __version__,
        "name": name,
        "class_names": list(class_names),
        "input": {**dataclasses.asdict(preprocessing), **INPUT},
        "output": OUTPUT,
        "engines": list(engines),
        "files": {
            member: {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
            for member, content in members.items()
        },
    }
    manifest = json.dumps(document, indent=1, sort_keys=True, ensure_ascii=False, allow_nan=False)
    _write_zip(path, {MANIFEST: f"{manifest}\n".encode(), **members})


def _write_zip(path: Path, members: Mapping[str, bytes]) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        for member in sorted(members):
            entry = zipfile.ZipInfo(member, date_time=(1980, 1, 1, 0, 0, 0))
            entry.create_system = 3  # otherwise the bytes would depend on the operating system
            entry.external_attr = (stat.S_IFREG | 0o644) << 16
            archive.writestr(entry, members[member])


def _verify(path: Path) -> None:
    try:
        verify(path)
    except BundleError as error:
        path.unlink()
        raise DataError(error.problem, where=error.where, advice=error.advice) from error
