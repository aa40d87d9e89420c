"""The stage that measures a target: accuracy and latency of the very engines that may ship."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tmkd_deploy.artifacts import Artifact
from tmkd_deploy.data.prepared import PreparedData
from tmkd_deploy.distill.distill import Student
from tmkd_deploy.distill.teach import Teachers
from tmkd_deploy.engines.facts import EngineFacts
from tmkd_deploy.engines.interface import Session
from tmkd_deploy.engines.onnxruntime import OnnxRuntime
from tmkd_deploy.engines.placement import Placement
from tmkd_deploy.engines.registry import runtime
from tmkd_deploy.events import Events, track
from tmkd_deploy.export.export import reference_logits
from tmkd_deploy.export.facts import ComparedFacts
from tmkd_deploy.measure.latency import measure_latency
from tmkd_deploy.measure.ledger import Entry, confusion_matrix, ledger
from tmkd_deploy.measure.results import Latency, Measurements
from tmkd_deploy.models.classifier import Classifier
from tmkd_deploy.quantize.insert import use_placement
from tmkd_deploy.recipe.schema import Recipe
from tmkd_deploy.training.fit import predict, training_device

_MAY_BE_TRAINING = (
    "That may come from training on as much as from quantization-aware training: "
    "quantize.control trains the student on without quantizers and tells them apart."
)


@dataclass(frozen=True)
class Models:
    """What the ledger compares; `alone`, `quantized` and `control` where the recipe has them."""

    teachers: Teachers
    student: Student
    alone: Classifier | None
    quantized: Classifier | None
    control: Classifier | None = None


def measure(
    recipe: Recipe,
    data: PreparedData,
    models: Models,
    engines: Artifact[EngineFacts],
    onnx: Mapping[str, Path],
    teacher_onnx: Path | None,
    compared: Artifact[ComparedFacts] | None,
    folder: Path,
    events: Events,
) -> Measurements:
    """Measure every engine of a target on the test split, and time them interleaved.

    Args:
        onnx: for each precision the ONNX file that its engine was built from.
        teacher_onnx: the teacher for the same runtime, timed beside the engines; None where the
            engines cannot run here.
        compared: the student quantized in other ways, measured beside the engines.
        folder: receives `logits-<precision>.npy`, float32 [N, C], of each engine (of its ONNX file
            in the reference evaluation where the engine cannot run here).
    """
    facts = engines.facts
    builder = runtime(facts.runtime)
    images, labels = data.images("test"), np.asarray(data.labels("test"))
    sessions: dict[str, tuple[str, Session]] = {}
    if builder.runs_here:
        for engine in facts.engines:
            session = builder.open(engines.path(engine.file), recipe.measure.threads)
            sessions[engine.precision] = (f"student, {engine.precision} engine", session)
    entries = _torch_entries(models, recipe, builder.placement, images)
    last: dict[str, np.ndarray] = {}
    for engine in facts.engines:
        precision = engine.precision
        origin = "fake_quantized" if precision == "int8" else "student"
        last[precision] = reference_logits(onnx[precision], images)
        entries.append(
            Entry(
                f"onnx-{precision}",
                "onnx",
                precision,
                f"ONNX {precision}",
                last[precision],
                origin,
            )
        )
        if precision in sessions:
            last[precision] = _engine_logits(sessions[precision], images, events)
            entries.append(
                Entry(
                    precision,
                    "engine",
                    precision,
                    f"{facts.target} engine {precision}",
                    last[precision],
                    f"onnx-{precision}",
                )
            )
    for precision, logits in last.items():
        np.save(folder / f"logits-{precision}.npy", logits, allow_pickle=False)
    others = _compared_sessions(compared, recipe.measure.threads)
    for name, other in others.items():
        logits = _engine_logits(other, images, events)
        entries.append(Entry(name, "post_training", "int8", other[0], logits, "student"))
    latency: Latency | None = None
    if sessions and teacher_onnx:
        teacher = builder.open(teacher_onnx, recipe.measure.threads)
        latency = measure_latency(
            {"teacher": ("teacher, fp32", teacher), **sessions, **others},
            np.asarray(images[:32]),
            recipe.measure,
            recipe.seed,
            events,
        )
        for warning in latency.warnings:
            events.warn(warning)
    classes = len(data.class_names)
    confusions = {
        precision: confusion_matrix(logits.argmax(axis=1), labels, classes)
        for precision, logits in last.items()
    }
    first = facts.engines[0].precision
    return Measurements(
        target=facts.target,
        runtime=facts.runtime,
        class_names=data.class_names,
        test_images=len(labels),
        engines=facts.engines,
        shipped=first,
        shipped_reason="The gate has not chosen yet.",
        ledger=ledger(entries, labels, data.class_names),
        confusion=confusions[first],
        confusion_by_engine=confusions,
        latency=latency,
        not_measured=None if sessions else _why_not(facts),
        teacher_parameters=models.teachers.facts.visual_parameters,
        student_parameters=models.student.facts.parameters,
    )


def _torch_entries(
    models: Models, recipe: Recipe, placement: Placement, images: np.ndarray
) -> list[Entry]:
    def logits(model: Classifier) -> np.ndarray:
        found: np.ndarray = predict(model.to(training_device()), images, training_device()).numpy()
        return found

    entries = [
        Entry("teacher", "teacher", "fp32", "Teacher, RGB view", logits(models.teachers.visual))
    ]
    if models.alone is not None:
        entries.append(
            Entry(
                "alone",
                "student_alone",
                "fp32",
                "Student trained alone",
                logits(models.alone),
                "teacher",
            )
        )
    entries.append(
        Entry(
            "student",
            "student",
            "fp32",
            "Student distilled",
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
                "Student, fine-tuned on",
                logits(models.control),
                "student",
            )
        )
    if models.quantized is not None:
        use_placement(models.quantized.network, placement)
        entries.append(
            Entry(
                "fake_quantized",
                "fake_quantized",
                "int8",
                "Student fake-quantized",
                logits(models.quantized),
                origin,
                None if models.control else _MAY_BE_TRAINING,
            )
        )
    return entries


def _compared_sessions(
    compared: Artifact[ComparedFacts] | None, threads: int
) -> dict[str, tuple[str, Session]]:
    """Label and session of each, under names that are no precision, so that none can ship."""
    if compared is None:
        return {}
    return {
        each.name: (
            each.label,
            OnnxRuntime().open(compared.path(each.file), threads, each.precise_int8),
        )
        for each in compared.facts.files
    }


def _engine_logits(named: tuple[str, Session], images: np.ndarray, events: Events) -> np.ndarray:
    """Logits of every image, one at a time, as a camera would bring them."""
    label, session = named
    frames = (np.ascontiguousarray(images[index : index + 1]) for index in range(len(images)))
    return np.concatenate(
        [
            session.infer(frame)
            for frame in track(events, frames, f"Evaluating the {label}", len(images), "images")
        ]
    ).astype(np.float32)


def _why_not(facts: EngineFacts) -> str:
    if facts.kit:
        return "The engine is built on the device from the kit, and no device was attached."
    return "The engine was built ahead of time, and no GPU that runs it was at hand."
