"""Latency under ONNX Runtime and TensorRT-RTX builds; both are independent of trained weights."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnxruntime import quantization

from benchmarks.quantizability.families import BUILD_SIZE, BUILD_TARGET, LATENCY_SIZES, PLAN, Paths
from benchmarks.quantizability.train import SILENT, calibration_images, quantizable, student
from tmkd_deploy.engines.onnxruntime import OnnxRuntime
from tmkd_deploy.engines.tensorrt_rtx import TensorRTRtx
from tmkd_deploy.export.fp16 import to_fp16
from tmkd_deploy.export.torch_to_onnx import to_onnx
from tmkd_deploy.measure.latency import measure_latency
from tmkd_deploy.models.classifier import Classifier
from tmkd_deploy.quantize.engine_arithmetic import use_engine_arithmetic
from tmkd_deploy.quantize.fold import fold_batch_norms
from tmkd_deploy.recipe.schema import Measure
from tmkd_deploy.records.onnx_model import INPUT
from tmkd_deploy.records.quant_scheme import QuantScheme
from tmkd_deploy.targets import catalog as profiles

_OPSET = 20
_IMAGES = 32
SETTINGS = Measure(threads=1, warmup_seconds=0.5, min_runs=200, min_seconds=3.0)


def time(paths: Paths, family: str, seed: int) -> dict[str, Any]:
    """Latencies at each size, and the number of layers that ONNX Runtime computes in integers."""
    timed: dict[str, Any] = {}
    layers: dict[str, Any] = {}
    for size in LATENCY_SIZES:
        images = enlarged(calibration_images()[:_IMAGES], size)
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            plain = student(paths, family, seed, size)
            onnx.save(to_onnx(plain, size, _OPSET), folder / "fp32.onnx")
            fake = quantized_now(plain, images, QuantScheme.U8)
            onnx.save(to_onnx(fake, size, _OPSET), folder / "int8.onnx")
            layers = _layers(folder, size)
            timed[str(size)] = _timed(folder, images, seed)
    return {"latency": timed, "layers": layers}


def build(paths: Paths, family: str, seed: int) -> dict[str, Any]:
    """Sizes of TensorRT-RTX engines by precision, and the INT8 engine's integer layers."""
    size, builder, profile = BUILD_SIZE, TensorRTRtx(), profiles.get(BUILD_TARGET)
    plain = student(paths, family, seed, size)
    megabytes = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        fp32 = to_onnx(plain, size, _OPSET)
        images = enlarged(calibration_images()[:_IMAGES], size)
        int8 = to_onnx(quantized_now(plain, images, QuantScheme.S8), size, _OPSET)
        graphs = {"fp32": fp32, "fp16": to_fp16(fp32)}
        graphs["int8"] = to_fp16(int8)
        for precision, graph in graphs.items():
            onnx.save(graph, folder / f"{precision}.onnx")
            engine = builder.build(folder / f"{precision}.onnx", precision, size, profile, folder)
            megabytes[precision] = round(engine.bytes / 1e6, 3)
    built = {"target": profile.name, "size": size, "megabytes": megabytes}
    counts = {"int8_layers": engine.int8_layers, "all_layers": engine.total_layers}
    return {"tensorrt_rtx": {**built, **counts}}


def quantized_now(
    classifier: Classifier, images: np.ndarray, quant_scheme: QuantScheme
) -> Classifier:
    """The classifier, modified in place: calibrated on `images`, with folded batch norms."""
    network = quantizable(classifier, images)
    fold_batch_norms(network)
    use_engine_arithmetic(network, quant_scheme)
    return classifier


def enlarged(images: np.ndarray, size: int) -> np.ndarray:
    """Images [n, S, S, 3] enlarged to a multiple of S by repeating pixels."""
    times = size // PLAN.size
    return images.repeat(times, axis=1).repeat(times, axis=2)


def quantize_static(fp32: Path, file: Path, images: np.ndarray, narrow: bool) -> None:
    """Quantize as ONNX Runtime's documentation recommends; `narrow` for x86 without VNNI."""
    quantization.quantize_static(
        str(fp32),
        str(file),
        _Reader(images),
        activation_type=quantization.QuantType.QUInt8,
        weight_type=quantization.QuantType.QInt8,
        per_channel=True,
        reduce_range=narrow,
    )


class _Reader(quantization.CalibrationDataReader):
    def __init__(self, images: np.ndarray) -> None:
        self._batches = iter(np.array_split(images, 4))

    def get_next(self) -> dict[str, np.ndarray] | None:
        batch = next(self._batches, None)
        return None if batch is None else {INPUT: batch}


def _timed(folder: Path, images: np.ndarray, seed: int) -> dict[str, Any]:
    """Time all contenders in one interleaved run; ratios are relative to the FP32 student."""
    runtime = OnnxRuntime()
    for method, narrow in (("quantize_static", False), ("quantize_static_7bit", True)):
        quantize_static(folder / "fp32.onnx", folder / f"{method}.onnx", images, narrow)
    # none of these files saturates in the fast mode, so all of them use it
    names = ("fp32", "int8", "quantize_static", "quantize_static_7bit")
    engines = {
        name: (name, runtime.open(folder / f"{name}.onnx", SETTINGS.threads, precise_int8=False))
        for name in names
    }
    latency = measure_latency(engines, images, SETTINGS, seed, SILENT)
    return {
        "milliseconds": {row.engine: round(row.p50_ms, 4) for row in latency.rows},
        "ratios": {
            f"{ratio.denominator} / {ratio.numerator}": {
                "ratio": round(1 / ratio.ratio, 4),
                "interval": [round(1 / bound, 4) for bound in reversed(ratio.interval)],
            }
            for ratio in latency.ratios
        },
        "protocol": latency.protocol,
        "warnings": latency.warnings,
    }


def _layers(folder: Path, size: int) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as built:
        engine = OnnxRuntime().build(
            folder / "int8.onnx", "int8", size, profiles.get("cpu"), Path(built)
        )
    return {"int8": engine.int8_layers, "all": engine.total_layers, "bytes": engine.bytes}
