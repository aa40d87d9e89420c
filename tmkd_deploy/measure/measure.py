"""The measure stage: accuracy and latency of the engines of a target."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tmkd_deploy.artifacts import Artifact
from tmkd_deploy.data.prepared import PreparedData
from tmkd_deploy.distill.distill import Student
from tmkd_deploy.distill.train_teacher import Teachers
from tmkd_deploy.engines.device_build import TEACHER
from tmkd_deploy.events import Events
from tmkd_deploy.export.export import reference_logits
from tmkd_deploy.measure.bench import Bench, EngineUnderTest
from tmkd_deploy.measure.ledger import Entry, confusion_matrix, ledger
from tmkd_deploy.models.timm_classifier import Classifier
from tmkd_deploy.quantize.engine_arithmetic import use_engine_arithmetic
from tmkd_deploy.recipe.schema import Recipe
from tmkd_deploy.records.engine import EngineRecord
from tmkd_deploy.records.measurements import Latency, Measurements
from tmkd_deploy.records.onnx_model import ComparedRecord
from tmkd_deploy.records.quant_scheme import QuantScheme
from tmkd_deploy.records.types import Precision
from tmkd_deploy.training.distributed import training_device
from tmkd_deploy.training.predict import predict

_MAY_BE_TRAINING = (
    "Longer training may explain this as well as quantization-aware training does; "
    "quantize.control trains the student equally long without quantizers to separate the two."
)


@dataclass(frozen=True)
class Models:
    """The models that the ledger compares; the optional ones are None if the recipe omits them."""

    teachers: Teachers
    student: Student
    baseline: Classifier | None
    quantized: Classifier | None
    control: Classifier | None = None


@dataclass(frozen=True)
class InTorch:
    """The PyTorch models' ledger entries and sizes."""

    entries: list[Entry]
    teacher_parameters: int
    student_parameters: int


def in_torch(
    models: Models, recipe: Recipe, data: PreparedData, quant_scheme: QuantScheme
) -> InTorch:
    """Run the models on the test split, the fake-quantized one in `quant_scheme`."""
    return InTorch(
        _torch_entries(models, recipe, quant_scheme, data.images("test")),
        models.teachers.record.visual_parameters,
        models.student.record.parameters,
    )


def measure(
    recipe: Recipe,
    data: PreparedData,
    torch_side: InTorch,
    record: EngineRecord,
    onnx: Mapping[str, Path],
    bench: Bench | None,
    folder: Path,
    events: Events,
) -> Measurements:
    """Measure every engine of a target on the test split, and time them interleaved.

    Args:
        recipe: of the run.
        data: the prepared data.
        torch_side: the result of `in_torch`.
        record: of the engines.
        onnx: the ONNX file of each precision that its engine was built from.
        bench: runs the engines by precision, the teacher by its name, and alternative
            quantizations by names of their own, so that they cannot ship. None if nothing
            available runs the engines.
        folder: receives `logits-<precision>.npy`, float32 [N, C], of each engine, or of its ONNX
            file in the reference evaluation if nothing runs the engine.
        events: receives progress and warnings.
    """
    images, labels = data.images("test"), np.asarray(data.labels("test"))
    entries = list(torch_side.entries)
    final: dict[Precision, np.ndarray] = {}
    for engine in record.engines:
        precision = engine.precision
        origin = "fake_quantized" if precision == "int8" else "student"
        reference = reference_logits(onnx[precision], images)
        row = f"onnx-{precision}"
        entries.append(
            Entry(row, "onnx", precision, f"ONNX, {precision.upper()}", reference, origin)
        )
        final[precision] = reference
        if bench is not None:
            final[precision] = bench.logits(precision)
            label = f"{precision.upper()} engine, {record.target}"
            entries.append(Entry(precision, "engine", precision, label, final[precision], row))
    for precision, logits in final.items():
        np.save(folder / f"logits-{precision}.npy", logits, allow_pickle=False)
    latency: Latency | None = None
    if bench is not None:
        for name in [name for name in bench.engines_under_test if name not in (*final, TEACHER)]:
            label = bench.engines_under_test[name].label
            entries.append(
                Entry(name, "post_training", "int8", label, bench.logits(name), "student")
            )
        latency = bench.latency(recipe.seed)
        for warning in latency.warnings:
            events.warn(warning)
    classes = len(data.class_names)
    confusions = {
        precision: confusion_matrix(logits.argmax(axis=1), labels, classes)
        for precision, logits in final.items()
    }
    return Measurements(
        target=record.target,
        runtime=record.runtime,
        class_names=data.class_names,
        test_images=len(labels),
        engines=record.engines,
        ledger=ledger(entries, labels, data.class_names),
        confusion_by_engine=confusions,
        latency=latency,
        not_measured=None if bench else _not_measured_reason(record),
        teacher_parameters=torch_side.teacher_parameters,
        student_parameters=torch_side.student_parameters,
    )


def _torch_entries(
    models: Models, recipe: Recipe, quant_scheme: QuantScheme, images: np.ndarray
) -> list[Entry]:
    def logits(model: Classifier) -> np.ndarray:
        found: np.ndarray = predict(model.to(training_device()), images, training_device()).numpy()
        return found

    entries = [
        Entry("teacher", "teacher", "fp32", "Teacher, RGB view", logits(models.teachers.visual))
    ]
    if models.baseline is not None:
        entries.append(
            Entry(
                "baseline",
                "student_baseline",
                "fp32",
                "Baseline student",
                logits(models.baseline),
                "teacher",
            )
        )
    entries.append(
        Entry(
            "student",
            "student",
            "fp32",
            "Distilled student",
            logits(models.student.classifier),
            "teacher",
        )
    )
    origin = "student"
    if models.control is not None:
        origin = "control"
        entries.append(
            Entry(
                origin,
                "student_control",
                "fp32",
                "Control student, without quantizers",
                logits(models.control),
                "student",
            )
        )
    if models.quantized is not None:
        use_engine_arithmetic(models.quantized.network, quant_scheme)
        entries.append(
            Entry(
                "fake_quantized",
                "fake_quantized",
                "int8",
                "Fake-quantized student",
                logits(models.quantized),
                origin,
                None if models.control else _MAY_BE_TRAINING,
            )
        )
    return entries


def engines_under_test(
    engines: Artifact[EngineRecord],
    teacher: Path | None,
    compared: Artifact[ComparedRecord] | None,
) -> dict[str, EngineUnderTest]:
    """The engines to measure, in the order of their turns.

    Args:
        engines: the build stage's artifact.
        teacher: the teacher's engine for the same runtime, if there is one.
        compared: alternative quantizations of the student, which run on ONNX Runtime.
    """
    record = engines.record
    found = {TEACHER: EngineUnderTest("FP32 teacher", record.runtime, teacher)} if teacher else {}
    for engine in record.engines:
        label = f"{engine.precision.upper()} student"
        found[engine.precision] = EngineUnderTest(label, record.runtime, engines.path(engine.file))
    if compared:
        for each in compared.record.files:
            file = compared.path(each.file)
            found[each.name] = EngineUnderTest(each.label, "onnxruntime", file, each.precise_int8)
    return found


def _not_measured_reason(record: EngineRecord) -> str:
    if record.kit:
        return "The engine is built from the kit on the device, and no device was attached."
    return "The engine was built ahead of time, and no GPU that can run it was available."
