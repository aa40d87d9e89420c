"""The post_training stage: INT8 by calibration without fine-tuning, with several tools.

Its ONNX files are measured for comparison and never ship.
"""

from __future__ import annotations

import multiprocessing
import shutil
import tempfile
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np

from tmkd_deploy.child_process import end_with_parent
from tmkd_deploy.data.prepared import PreparedData
from tmkd_deploy.distill.distill import Student
from tmkd_deploy.errors import EnvironmentProblem, MissingExtra
from tmkd_deploy.events import Events, track
from tmkd_deploy.export.export import export
from tmkd_deploy.quantize.calibration_set import draw_calibration_set
from tmkd_deploy.quantize.quantize import post_training_quantized
from tmkd_deploy.quiet import quiet
from tmkd_deploy.recipe.schema import Recipe
from tmkd_deploy.records.onnx_model import INPUT, MODEL, Compared, ComparedRecord, Variant
from tmkd_deploy.records.quant_scheme import QuantScheme
from tmkd_deploy.runtime.onnxruntime_session import precise_int8_default

_BATCH = 32
_LABELS = {
    "post_training": "Post-training, tmkd-deploy",
    "quantize_static": "Post-training, quantize_static",
    "modelopt": "Post-training, modelopt",
}


def compare_post_training(
    recipe: Recipe,
    data: PreparedData,
    student: Student,
    fp32: Path,
    folder: Path,
    events: Events,
) -> ComparedRecord:
    """Quantize the student with each tool of `quantize.compare` and write the files into `folder`.

    All tools use the same calibration images; third-party tools start from `fp32`, the exported
    student.

    Raises:
        EnvironmentProblem: a tool rejects the model; the error quotes its message.
        MissingExtra: a tool is not installed.
    """
    images = draw_calibration_set(recipe, data).images
    made = []
    tools = recipe.quantize.compare
    for tool in track(events, tools, "Quantizing after training", len(tools), "tools"):
        file = folder / f"{tool}.onnx"
        if tool == "post_training":
            _by_calibration(recipe, data, student, file, events)
        else:
            _by_third_party(tool, fp32, images, file)
        precise = tool != "quantize_static" and precise_int8_default()
        label = _LABELS[tool]
        if tool == "quantize_static" and precise_int8_default():
            label += " with 7-bit weights"
        made.append(Compared(name=tool, label=label, file=file.name, precise_int8=precise))
    return ComparedRecord(files=made)


def _by_calibration(
    recipe: Recipe, data: PreparedData, student: Student, file: Path, events: Events
) -> None:
    quant_scheme = QuantScheme.U8
    classifier = post_training_quantized(recipe, data, student, quant_scheme, events)
    variant = Variant("student", "int8", quant_scheme)
    with tempfile.TemporaryDirectory() as folder:
        export(recipe, data, classifier, variant, Path(folder), events)
        shutil.move(Path(folder) / MODEL, file)


def _by_third_party(tool: str, fp32: Path, images: np.ndarray, file: Path) -> None:
    quantize, package, extra = _THIRD_PARTY[tool]
    try:
        # in a separate process, because modelopt patches ONNX Runtime's quantizer
        spawn = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(1, spawn, initializer=end_with_parent) as process:
            process.submit(_quietly, quantize, fp32, images, file).result()
    except ImportError as error:
        raise MissingExtra(f"The comparison {tool!r}", extra, package) from error
    except Exception as error:  # these tools raise arbitrary exceptions
        raise EnvironmentProblem(
            f"The comparison {tool!r} failed: {error}",
            where="quantize.compare",
            advice="Remove it from quantize.compare, or try another version of the tool.",
        ) from error


def _quietly(
    quantize: Callable[[Path, np.ndarray, Path], None], fp32: Path, images: np.ndarray, file: Path
) -> None:
    with quiet():
        quantize(fp32, images, file)


def _quantize_static(fp32: Path, images: np.ndarray, file: Path) -> None:
    """Quantize as ONNX Runtime's documentation recommends for x86 processors.

    Unsigned activations, signed per-channel weights, min-max ranges; 7-bit weights on processors
    where 8 bits could saturate, so that the fast mode is safe.
    """
    from onnxruntime import quantization  # noqa: PLC0415 - slow to import

    class Reader(quantization.CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            starts = range(0, len(images), _BATCH)
            self._batches = iter([images[start : start + _BATCH] for start in starts])

        def get_next(self) -> dict[str, np.ndarray] | None:
            batch = next(self._batches, None)
            return None if batch is None else {INPUT: batch}

    quantization.quantize_static(
        str(fp32),
        str(file),
        Reader(),
        activation_type=quantization.QuantType.QUInt8,
        weight_type=quantization.QuantType.QInt8,
        per_channel=True,
        reduce_range=precise_int8_default(),
    )


def _modelopt(fp32: Path, images: np.ndarray, file: Path) -> None:
    """Quantize with modelopt's defaults, the rest in FP32 for the CPU."""
    from modelopt.onnx.quantization import quantize  # noqa: PLC0415 - slow to import

    with tempfile.TemporaryDirectory() as folder:
        copied = Path(folder) / "fp32.onnx"  # it writes files next to the model
        shutil.copyfile(fp32, copied)
        quantize(
            str(copied),
            calibration_data={INPUT: images},
            calibration_eps=["cpu"],
            high_precision_dtype="fp32",
            output_path=str(file),
        )


_THIRD_PARTY = {
    "quantize_static": (_quantize_static, "onnxruntime", "train"),
    "modelopt": (_modelopt, "nvidia-modelopt", "modelopt"),
}
