"""Our engines of a family on every runtime, timed beside what other tools make of it.

Needs OpenVINO and its quantizer: pip install openvino nncf.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import nncf
import numpy as np
import onnx
import openvino

from benchmarks.quantizability.accuracy import BATCH, checked, p_value
from benchmarks.quantizability.engines import enlarged, quantize_static, quantized_now
from benchmarks.quantizability.families import LATENCY_SIZES, PLAN, Paths
from benchmarks.quantizability.race_contenders import CONTENDERS
from benchmarks.quantizability.train import SILENT, calibration_images, data, quantized, student
from tmkd_deploy.agent.telemetry import cpu
from tmkd_deploy.engines.interface import Session
from tmkd_deploy.engines.open_engine import open_engine
from tmkd_deploy.export.torch_to_onnx import to_onnx
from tmkd_deploy.measure.latency import measure_latency
from tmkd_deploy.models.classifier import Classifier
from tmkd_deploy.recipe.schema import Measure
from tmkd_deploy.records.quant_scheme import QuantScheme
from tmkd_deploy.runtime.onnx_metadata import PRECISION
from tmkd_deploy.runtime.openvino_session import OpenVinoSession, version
from tmkd_deploy.runtime.session_options import SessionOptions

_OPSET = 20
_IMAGES = 32
MIN_RUNS, MIN_SECONDS = 200, 3.0


def race(paths: Paths, family: str, seed: int) -> dict[str, Any]:
    """Latencies by size and number of threads, and the top-1 of each contender."""
    timed: dict[str, Any] = {}
    for size in LATENCY_SIZES:
        images = enlarged(calibration_images()[:_IMAGES], size)
        plain = student(paths, family, seed, size)
        with tempfile.TemporaryDirectory() as name:
            files = Files(Path(name), images)
            files.add("fp32", plain, size)
            files.add("int8", quantized_now(plain, images, QuantScheme.U8), size)
            timed[str(size)] = {
                str(threads): _timed(files, images, threads, seed)
                for threads in sorted({1, os.cpu_count() or 1})
            }
    return {
        "latency": timed,
        "accuracy": _accuracy(paths, family, seed),
        "openvino": version("openvino"),
    }


class Files:
    """The ONNX files in a folder, and the sessions of the contenders made of them."""

    def __init__(self, folder: Path, images: np.ndarray) -> None:
        """`images`: uint8 [N, S, S, 3], those that the other tools calibrate on."""
        self._folder, self._images = folder, images
        self._nncf: openvino.Model | None = None

    def add(self, name: str, classifier: Classifier, size: int) -> None:
        """Export a model, and whatever is made of the FP32 one."""
        model = to_onnx(classifier, size, _OPSET)
        onnx.save(model, self._path(name))
        if name == "fp32":
            narrow = cpu.arithmetic_support()["vnni"] is not True
            static = self._path("quantize_static")
            quantize_static(self._path(name), static, self._images, narrow)
            model.metadata_props.add(key=PRECISION, value="bf16")
            onnx.save(model, self._path("bf16"))

    def sessions(self, threads: int) -> dict[str, Session]:
        """The contenders by name; without BF16 where the processor does not compute in it."""
        found: dict[str, Session] = {}
        for name, contender in CONTENDERS.items():
            if name == "nncf":
                found[name] = self._of_nncf(threads)
            elif contender.file != "bf16" or cpu.arithmetic_support()["bf16"]:
                options = SessionOptions(threads)
                found[name] = open_engine(contender.runtime, self._path(contender.file), options)
        return found

    def _of_nncf(self, threads: int) -> Session:
        """As NNCF's documentation has it: its defaults, and OpenVINO's for latency."""
        if self._nncf is None:
            nncf.set_log_level(40)
            graph = openvino.Core().read_model(self._path("fp32"))
            graph.reshape([1, *self._images.shape[1:]])
            images = nncf.Dataset([each[np.newaxis] for each in self._images])
            self._nncf = nncf.quantize(graph, images, subset_size=len(self._images))
        hints = {
            "PERFORMANCE_HINT": "LATENCY",
            "NUM_STREAMS": 1,
            "INFERENCE_NUM_THREADS": threads,
            "ENABLE_CPU_PINNING": False,
        }
        return OpenVinoSession(openvino.Core().compile_model(self._nncf, "CPU", hints))

    def _path(self, name: str) -> Path:
        return self._folder / f"{name}.onnx"


def _timed(files: Files, images: np.ndarray, threads: int, seed: int) -> dict[str, Any]:
    """All contenders in one interleaved run: medians, and ratios by "slower / faster" pairs."""
    settings = Measure(
        threads=threads, warmup_seconds=0.5, min_runs=MIN_RUNS, min_seconds=MIN_SECONDS
    )
    engines = {name: (name, each) for name, each in files.sessions(threads).items()}
    latency = measure_latency(engines, images, settings, seed, SILENT)
    return {
        "milliseconds": {row.engine: round(row.p50_ms, 4) for row in latency.rows},
        "ratios": {
            f"{each.numerator} / {each.denominator}": {
                "ratio": round(each.ratio, 4),
                "interval": [round(bound, 4) for bound in each.interval],
            }
            for each in latency.ratios
        },
        "warnings": latency.warnings,
    }


def _accuracy(paths: Paths, family: str, seed: int) -> dict[str, Any]:
    """Top-1 on the test images, at the size that the family was trained with.

    The INT8 engines are those of the fine-tuned student; `p_values` compare each contender with
    each other, by the exact McNemar test.
    """
    images, labels = data().test.images, data().test.labels
    with tempfile.TemporaryDirectory() as name:
        files = Files(Path(name), calibration_images())
        files.add("fp32", student(paths, family, seed), PLAN.size)
        files.add("int8", quantized(paths, family, seed), PLAN.size)
        answers = {each: _logits(session, images) for each, session in files.sessions(1).items()}
    decisions = {each: checked(logits).predictions for each, logits in answers.items()}
    return {
        "top1": {each: float((found == labels).mean()) for each, found in decisions.items()},
        "p_values": _p_values(decisions, labels),
    }


def _p_values(decisions: Mapping[str, np.ndarray], labels: np.ndarray) -> dict[str, float]:
    names = list(decisions)
    return {
        f"{first} / {second}": p_value(decisions[first], decisions[second], labels)
        for index, first in enumerate(names)
        for second in names[index + 1 :]
    }


def _logits(session: Session, images: np.ndarray) -> np.ndarray:
    starts = range(0, len(images), BATCH)
    return np.concatenate([session.infer(images[start : start + BATCH]) for start in starts])
