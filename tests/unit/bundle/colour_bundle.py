"""A real engine that tells colours apart, and what `pack` needs beside it."""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from tmkd_deploy.bundle.pack import BundleRecord, pack
from tmkd_deploy.records.latency import Latency, LatencyRow
from tmkd_deploy.records.measurements import EngineFile, LedgerRow, Measurements
from tmkd_deploy.records.verdict import Check, Outcome, Verdict
from tmkd_deploy.runtime.onnxruntime_session import create_session
from tmkd_deploy.runtime.preprocess import Preprocessing

SIDE = 8
COLOURS = ["red", "green", "blue"]

Pack = Callable[..., tuple[Path, BundleRecord]]


def colour_model(weights: np.ndarray | None = None, batch: int | str = "batch") -> bytes:
    """Raw pixels to three logits, the mean of each channel over 16: the brightest one wins."""
    weights = np.eye(3, dtype=np.float32) / 16 if weights is None else weights
    classes = weights.shape[0]
    nodes = [
        helper.make_node("Cast", ["pixels"], ["floats"], to=TensorProto.FLOAT),
        helper.make_node("Transpose", ["floats"], ["planes"], perm=[0, 3, 1, 2]),
        helper.make_node("GlobalAveragePool", ["planes"], ["means"]),
        helper.make_node("Flatten", ["means"], ["flat"]),
        helper.make_node("Gemm", ["flat", "weights"], ["logits"], transB=1),
    ]
    graph = helper.make_graph(
        nodes,
        "colours",
        [helper.make_tensor_value_info("pixels", TensorProto.UINT8, [batch, SIDE, SIDE, 3])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, [batch, classes])],
        [numpy_helper.from_array(weights, "weights")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString())


def solid(colour: str, side: int = SIDE) -> np.ndarray:
    image = np.full((side, side, 3), 20, np.uint8)
    image[:, :, COLOURS.index(colour)] = 220
    return image


def measurements(*, measured: bool = True) -> Measurements:
    row = LatencyRow(
        engine="fp32",
        label="FP32",
        runs=200,
        mean_ms=0.5,
        p50_ms=0.5,
        p90_ms=0.6,
        p99_ms=0.7,
        p50_interval_ms=(0.49, 0.51),
        p99_interval_ms=(0.65, 0.75),
        histogram_edges_ms=[0.0, 1.0],
        histogram_counts=[200],
    )
    ledger = LedgerRow(
        representation="engine",
        precision="fp32",
        label="Engine",
        top1=0.9,
        top1_interval=(0.85, 0.95),
        macro_recall=0.9,
        agreement_with_teacher=0.9,
    )
    engine = EngineFile(
        precision="fp32",
        file="fp32.onnx",
        bytes=1000,
        sha256="0" * 64,
        int8_layers=None,
        total_layers=None,
    )
    latency = Latency(rows=[row], ratios=[], protocol={"threads": 1}, machine={}, warnings=[])
    return Measurements(
        target="cpu",
        runtime="onnxruntime",
        class_names=COLOURS,
        test_images=100,
        engines=[engine],
        ledger=[ledger] if measured else [],
        confusion_by_engine={},
        latency=latency if measured else None,
        not_measured=None if measured else "The device is not here.",
        teacher_parameters=10,
        student_parameters=9,
    )


def verdict(outcome: Outcome = Outcome.PASSED) -> Verdict:
    if outcome is Outcome.NOT_JUDGED:
        why = "The recipe sets no budgets for this target."
        return Verdict(target="cpu", outcome=outcome, checks=[], not_judged=why)
    check = Check(
        budget="accuracy",
        limit=0.8,
        measured=0.9,
        interval=None,
        unit="",
        outcome=outcome,
        explanation="The top-1 accuracy is 0.90; the budget requires at least 0.8.",
    )
    return Verdict(target="cpu", outcome=outcome, checks=[check])


def packed(
    folder: Path, *, model: bytes | None = None, **changes: Any
) -> tuple[Path, BundleRecord]:
    """Pack the colour engine, or `model`, in `folder`; `changes` are arguments of `pack`."""
    folder.mkdir(exist_ok=True)
    engine = folder / "fp32.onnx"
    engine.write_bytes(model or colour_model())
    images = np.stack([solid(colour) for colour in COLOURS])
    session = create_session(colour_model(), threads=1)
    arguments: dict[str, Any] = {
        "name": "colours",
        "engine": engine,
        "precision": "fp32",
        "runtime": "onnxruntime",
        "measurements": measurements(),
        "verdict": verdict(),
        "class_names": COLOURS,
        "preprocessing": Preprocessing(SIDE, SIDE),
        "golden_images": images,
        "golden_logits": session.run(None, {"pixels": images})[0],
        "golden_tolerance": 1e-3,
        "into": folder,
    }
    record = pack(**(arguments | changes))
    return folder / record.file, record


def contents_of(path: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def write_zip(path: Path, members: list[tuple[str | zipfile.ZipInfo, bytes]]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        for name, content in members:
            archive.writestr(name, content)
    return path


def with_manifest(path: Path, change: Callable[[dict[str, object]], object]) -> Path:
    """Another bundle at the same path whose manifest was changed, every CRC of the zip right."""
    members = contents_of(path)
    document = json.loads(members["manifest.json"])
    change(document)
    members["manifest.json"] = json.dumps(document).encode()
    return write_zip(path, list(members.items()))


def with_engine(path: Path, change: Callable[[dict[str, Any]], object]) -> Path:
    """As `with_manifest`, for the manifest's first engine."""
    return with_manifest(path, lambda document: change(document["engines"][0]))  # type: ignore[index]


def as_older(path: Path, version: int) -> Path:
    """The bundle at the same path as format version 1 or 2 has it."""
    members = contents_of(path)
    document = json.loads(members["manifest.json"])
    (engine,) = document.pop("engines")
    del engine["made_for"], engine["build"], engine["golden"]["inputs"], engine["golden"]["outputs"]
    document |= {**engine, "engine": engine["engine"].replace("-0", ""), "format_version": version}
    if version == 1:
        del document["input"]["resize"], document["input"]["grayscale"]
        del members["golden_preprocessed.npy"], document["files"]["golden_preprocessed.npy"]
    for files in (members, document["files"]):
        for name in [name for name in files if "-0" in name]:
            files[name.replace("-0", "")] = files.pop(name)
    members["manifest.json"] = json.dumps(document).encode()
    return write_zip(path, list(members.items()))


def with_member(path: Path, name: str, content: bytes) -> Path:
    """Another bundle at the same path, with hash and size of `name` made to fit `content`."""
    members = contents_of(path)
    document = json.loads(members["manifest.json"])
    digest = hashlib.sha256(content).hexdigest()
    document["files"][name] = {"bytes": len(content), "sha256": digest}
    members |= {name: content, "manifest.json": json.dumps(document).encode()}
    return write_zip(path, list(members.items()))


def npy(array: np.ndarray) -> bytes:
    stream = io.BytesIO()
    np.save(stream, array)
    return stream.getvalue()
