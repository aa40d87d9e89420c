"""The stage that makes what one would do instead: INT8 by calibration alone, ours and others'.

Its ONNX files are measured beside the engines, and never ship.
"""

from __future__ import annotations

import multiprocessing
import shutil
import tempfile
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np

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
    "post_training": "Post-training, ours",
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
    """Quantize the student in each way of `quantize.compare` and write the files into `folder`.

    All ways see the same calibration images; the others start from `fp32`, the exported student.

    Raises:
        EnvironmentProblem: a tool refuses the model; its own words are passed on.
        MissingExtra: a tool is not installed.
    """
    images = draw_calibration_set(recipe, data).images
    made = []
    ways = recipe.quantize.compare
    for way in track(events, ways, "Quantizing after training", len(ways), "ways"):
        file = folder / f"{way}.onnx"
        if way == "post_training":
            _ours(recipe, data, student, file, events)
        else:
            _by_another(way, fp32, images, file)
        precise = way != "quantize_static" and precise_int8_default()
        label = _LABELS[way]
        if way == "quantize_static" and precise_int8_default():
            label += " with 7-bit weights"
        made.append(Compared(name=way, label=label, file=file.name, precise_int8=precise))
    return ComparedRecord(files=made)


def _ours(recipe: Recipe, data: PreparedData, student: Student, file: Path, events: Events) -> None:
    quant_scheme = QuantScheme.U8
    classifier = post_training_quantized(recipe, data, student, quant_scheme, events)
    variant = Variant("student", "int8", quant_scheme)
    with tempfile.TemporaryDirectory() as folder:
        export(recipe, data, classifier, variant, Path(folder), events)
        shutil.move(Path(folder) / MODEL, file)


def _by_another(way: str, fp32: Path, images: np.ndarray, file: Path) -> None:
    quantize, package, extra = _OTHERS[way]
    try:
        # a process of its own, because modelopt alters ONNX Runtime's quantizer for good
        with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as process:
            process.submit(_quietly, quantize, fp32, images, file).result()
    except ImportError as error:
        raise MissingExtra(f"The comparison {way!r}", extra, package) from error
    except Exception as error:  # these tools raise whatever comes
        raise EnvironmentProblem(
            f"The comparison {way!r} could not be made: {error}",
            where="quantize.compare",
            advice="Take it out of quantize.compare, or try another version of its tool.",
        ) from error


def _quietly(
    quantize: Callable[[Path, np.ndarray, Path], None], fp32: Path, images: np.ndarray, file: Path
) -> None:
    with quiet():
        quantize(fp32, images, file)


def _quantize_static(fp32: Path, images: np.ndarray, file: Path) -> None:
    """As ONNX Runtime's own documentation advises for x86 processors.

    Unsigned activations, signed weights for each channel, ranges by minimum and maximum; weights of
    seven bits where eight could saturate, so that the fast mode is safe.
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
    """With modelopt's defaults, its remaining part in FP32 as a CPU wants it."""
    from modelopt.onnx.quantization import quantize  # noqa: PLC0415 - slow to import

    with tempfile.TemporaryDirectory() as folder:
        copied = Path(folder) / "fp32.onnx"  # it writes its own files beside the model
        shutil.copyfile(fp32, copied)
        quantize(
            str(copied),
            calibration_data={INPUT: images},
            calibration_eps=["cpu"],
            high_precision_dtype="fp32",
            output_path=str(file),
        )


_OTHERS = {
    "quantize_static": (_quantize_static, "onnxruntime", "train"),
    "modelopt": (_modelopt, "nvidia-modelopt", "modelopt"),
}
