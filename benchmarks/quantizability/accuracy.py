"""Top-1 of each representation of a trained family, on identical images."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from benchmarks.quantizability.engines import quantize_static
from benchmarks.quantizability.families import PLAN, Paths
from benchmarks.quantizability.train import (
    CPU,
    calibration_images,
    data,
    quantized,
    student,
)
from tmkd_deploy.engines.onnxruntime import OnnxRuntime
from tmkd_deploy.export.torch_to_onnx import to_onnx
from tmkd_deploy.measure.ledger import Entry, ledger
from tmkd_deploy.proportions import mcnemar_p_value
from tmkd_deploy.records.logits import Logits
from tmkd_deploy.training.predict import predict

BATCH = 50
_OPSET = 20


def measure(paths: Paths, family: str, seed: int) -> list[dict[str, Any]]:
    """The ledger of one training: each row against the FP32 student, INT8 also against fake INT8.

    `quantize_static` follows its documentation for CPUs with VNNI, `quantize_static_7bit` for CPUs
    without. Our INT8 file is the same for both.
    """
    plain, fake = student(paths, family, seed), quantized(paths, family, seed)
    images, labels = data().test.images, data().test.labels
    entries = [
        Entry(
            "fp32", "student", "fp32", "FP32 student", checked(predict(plain, images, CPU).numpy())
        ),
        entry("calibrated", np.load(paths.folder(family, seed) / "calibrated.npy")),
        entry("fine_tuned", predict(fake, images, CPU).numpy()),
    ]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        onnx.save(to_onnx(plain, PLAN.size, _OPSET), folder / "fp32.onnx")
        onnx.save(to_onnx(fake, PLAN.size, _OPSET), folder / "int8.onnx")
        files = {"fp32_engine": "fp32", "int8": "int8"}
        for method, narrow in (("quantize_static", False), ("quantize_static_7bit", True)):
            file = folder / f"{method}.onnx"
            quantize_static(folder / "fp32.onnx", file, calibration_images(), narrow)
            files[method] = method
        for key, stem in files.items():
            entries.append(entry(key, _logits(folder / f"{stem}.onnx", images)))
    rows = ledger(entries, labels, data().class_names)
    decisions_of = {entry.key: entry.logits.predictions for entry in entries}
    return [
        {
            "row": entry.key,
            "seed": seed,
            "top1": row.top1,
            "top1_interval": row.top1_interval,
            "change_points": row.change_points,
            "change_interval": row.change_interval,
            "p_value": row.p_value,
            "agreement_with_fp32": row.agreement_with_compared,
            "agreement_with_fake": float(
                (decisions_of[entry.key] == decisions_of["fine_tuned"]).mean()
            ),
            "p_value_against_int8": p_value(decisions_of[entry.key], decisions_of["int8"], labels),
        }
        for entry, row in zip(entries, rows, strict=True)
    ]


def p_value(decisions: np.ndarray, others: np.ndarray, labels: np.ndarray) -> float:
    correct, others_correct = decisions == labels, others == labels
    gained, lost = int((correct & ~others_correct).sum()), int((others_correct & ~correct).sum())
    return mcnemar_p_value(gained, lost)


def entry(key: str, logits: np.ndarray) -> Entry:
    # the ledger asks for a precision, which none of the results shows
    return Entry(key, "engine", "int8", key, checked(logits), "fp32")


def checked(logits: np.ndarray) -> Logits:
    images = [str(number) for number in range(len(data().test.labels))]
    classes = len(data().class_names)
    return Logits([logits], of="a row", images=images, classes=classes)


def _logits(file: Path, images: np.ndarray) -> np.ndarray:
    session = OnnxRuntime().open(file, 1, precise_int8=False)
    starts = range(0, len(images), BATCH)
    return np.concatenate([session.infer(images[start : start + BATCH]) for start in starts])
