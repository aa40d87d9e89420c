"""The bundle stage: one file that an application can take.

`docs/reference/bundle.md` describes the format. The same inputs give the same bytes.
"""

from __future__ import annotations

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
from tmkd_deploy.gate.judge import shipped_accuracy, shipped_latency
from tmkd_deploy.records.bundle import BundleRecord
from tmkd_deploy.records.measurements import Measurements
from tmkd_deploy.records.verdict import Verdict
from tmkd_deploy.runtime import BundleError, verify
from tmkd_deploy.runtime.manifest import (
    FORMAT_VERSION,
    GOLDEN_INPUTS,
    GOLDEN_OUTPUTS,
    INPUT,
    MANIFEST,
    OUTPUT,
)

SUFFIX = ".tmkd"


def pack(
    *,
    name: str,
    engine: Path,
    precision: str,
    runtime: str,
    measurements: Measurements,
    verdict: Verdict,
    class_names: Sequence[str],
    image_size: int,
    golden_images: npt.NDArray[np.uint8],
    golden_logits: npt.NDArray[np.float32],
    golden_tolerance: float,
    into: Path,
) -> BundleRecord:
    """Write `into/<name>-<target>.tmkd` and verify it, golden images included where they can run.

    `golden_images` are uint8 [k, image_size, image_size, 3] and `golden_logits`, float32
    [k, classes], what this engine gave for them, k >= 1; choose images with `clearest_images`.
    A gate that did not pass is recorded and does not hinder.

    Raises:
        ArtifactError: the engine's file is not there.
        DataError: the finished bundle does not verify; no file is left.
    """
    if not engine.is_file():
        raise ArtifactError(
            "The engine to bundle is not there.",
            where=str(engine),
            advice="Export again for this target, then bundle.",
        )
    members = {
        f"engine{engine.suffix}": engine.read_bytes(),
        GOLDEN_INPUTS: _npy(golden_images),
        GOLDEN_OUTPUTS: _npy(golden_logits),
    }
    document = {
        "format_version": FORMAT_VERSION,
        "tool_version": __version__,
        "name": name,
        "target": measurements.target,
        "runtime": runtime,
        "precision": precision,
        "engine": f"engine{engine.suffix}",
        "class_names": list(class_names),
        "input": {"height": image_size, "width": image_size, **INPUT},
        "output": OUTPUT,
        "golden": {"tolerance": golden_tolerance},
        "gate": verdict.model_dump(mode="json", include={"outcome", "checks"}),
        **_figures(measurements),
        "files": {
            member: {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
            for member, content in members.items()
        },
    }
    manifest = json.dumps(document, indent=1, sort_keys=True, ensure_ascii=False, allow_nan=False)
    path = into / f"{name}-{measurements.target}{SUFFIX}"
    _write_zip(path, {MANIFEST: f"{manifest}\n".encode(), **members})
    _verify(path)
    return BundleRecord(
        file=path.name,
        bytes=path.stat().st_size,
        sha256=sha256_of(path),
        target=measurements.target,
        precision=precision,
        gate=verdict.outcome,
    )


def clearest_images(logits: npt.NDArray[np.float32], count: int) -> list[int]:
    """Rows of `logits` (float32 [n, classes]) fit to be golden, at most `count`, in rising order.

    Each predicted class in turn gives the image with the widest lead over the second class: an
    image on the border of two classes may fall to either side on another processor.
    """
    ordered = np.sort(logits, axis=1)
    lead = ordered[:, -1] - ordered[:, -2] if logits.shape[1] > 1 else ordered[:, -1]
    predicted = logits.argmax(axis=1)
    # The place of each image among those of its class, the clearest first, decides; then its lead.
    place = np.empty(len(logits), dtype=np.int64)
    for label in np.unique(predicted):
        rows = np.flatnonzero(predicted == label)
        place[rows[np.argsort(-lead[rows], kind="stable")]] = np.arange(len(rows))
    return sorted(np.lexsort((-lead, place))[:count].tolist())


def _figures(measurements: Measurements) -> dict[str, Any]:
    """What was measured of the engine that ships; null where it was not."""
    accuracy, latency = shipped_accuracy(measurements), shipped_latency(measurements)
    protocol = measurements.latency.protocol if measurements.latency else {}
    histogram = {"histogram_edges_ms", "histogram_counts"}
    return {
        "accuracy": accuracy and accuracy.model_dump(mode="json"),
        "latency": latency and latency.model_dump(mode="json", exclude=histogram),
        "threads": protocol.get("threads"),
    }


def _npy(array: npt.NDArray[Any]) -> bytes:
    stream = io.BytesIO()
    np.lib.format.write_array(stream, np.ascontiguousarray(array), (1, 0), allow_pickle=False)
    return stream.getvalue()


def _write_zip(path: Path, members: Mapping[str, bytes]) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        for member in sorted(members):
            entry = zipfile.ZipInfo(member, date_time=(1980, 1, 1, 0, 0, 0))
            entry.create_system = 3  # else the bytes would differ between operating systems
            entry.external_attr = (stat.S_IFREG | 0o644) << 16
            archive.writestr(entry, members[member])


def _verify(path: Path) -> None:
    try:
        verify(path)
    except BundleError as error:
        path.unlink()
        raise DataError(error.problem, where=error.where, advice=error.advice) from error
