"""Build a run's report from its artifacts."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tmkd_deploy import artifacts
from tmkd_deploy.artifacts import Artifact, Record
from tmkd_deploy.measure.latency import machine
from tmkd_deploy.recipe.schema import Recipe
from tmkd_deploy.records.bundle import BundleRecord
from tmkd_deploy.records.distillation import VIEW_IMAGES, VIEW_WEIGHTS, StudentRecord
from tmkd_deploy.records.training import TrainingCurve
from tmkd_deploy.records.verdict import GateRecord, Outcome
from tmkd_deploy.report import formatting
from tmkd_deploy.report.html import Html
from tmkd_deploy.report.interface import (
    DataSummary,
    QuantizationSummary,
    RunReport,
    StageTime,
    StudentSummary,
    TargetReport,
    TeacherSummary,
    ViewGallery,
    write,
)
from tmkd_deploy.report.json import Json
from tmkd_deploy.report.junit import Junit
from tmkd_deploy.report.markdown import Markdown
from tmkd_deploy.report.recipe_text import recipe_text


class ReportRecord(Record):
    """The files of a report, and the verdict over all its targets as a sentence."""

    files: list[str]
    outcome: Outcome
    verdict: str


@dataclass(frozen=True)
class Earlier:
    """The verdict on a target that this run does not judge, and its bundle if there is one."""

    gate: Artifact[GateRecord]
    bundle: Artifact[BundleRecord] | None


def write_report(
    recipe: Recipe,
    inputs: Mapping[str, Artifact[Any]],
    targets: Sequence[str],
    stages: list[StageTime],
    note: str | None,
    folder: Path,
    earlier: Sequence[Earlier] = (),
) -> ReportRecord:
    """Write every format of the report into `folder`.

    Args:
        recipe: of the run.
        inputs: the artifacts data, teacher, student and, unless that was given, view_scores;
            quantized, if enabled; and for each target "gate NAME" and, if there is one,
            "bundle NAME".
        targets: their names.
        stages: the duration of each stage.
        note: a sentence to add to the report's notes.
        folder: receives the report's files.
        earlier: the verdicts on other targets that the run folder holds.
    """
    trained = [inputs[each].manifest.created for each in ("student", "quantized") if each in inputs]
    report = RunReport(
        name=recipe.name,
        recipe_yaml=recipe_text(recipe),
        data=_data(inputs["data"]),
        teacher=_teacher(inputs["teacher"], inputs.get("view_scores")),
        student=_student(inputs["student"].record),
        quantization=_quantization(inputs.get("quantized")),
        targets=[
            *(_target(inputs[f"gate {n}"], inputs.get(f"bundle {n}")) for n in targets),
            *(_earlier(each, max(trained)) for each in earlier),
        ],
        views=_views(inputs["student"]),
        view_weights=inputs["student"].record.view_weights,
        machine={name: str(value) for name, value in machine().items()},
        stages=stages,
        notes=_notes(recipe, note),
        choices=_choices(inputs),
        curves=_curves(inputs["teacher"], inputs["student"]),
        fusion=inputs["student"].record.fusion,
    )
    paths = write(report, folder, [Html(), Markdown(), Junit(), Json()])
    return ReportRecord(
        files=[path.name for path in paths],
        outcome=report.outcome,
        verdict=formatting.overall(report.outcomes),
    )


def publish(artifact: Artifact[ReportRecord], folder: Path) -> None:
    """Copy the report's files to the top level of the run folder."""
    for name in artifact.record.files:
        artifacts.write_text(folder / name, artifact.path(name).read_text(encoding="utf-8"))


def _data(artifact: Artifact[Any]) -> DataSummary:
    record = artifact.record
    return DataSummary(
        class_names=record.class_names,
        train_images=record.train_images,
        val_images=record.val_images,
        test_images=record.test_images,
        drawn_splits=record.drawn_splits,
        split_seed=record.split_seed,
        group_by=record.group_by,
        fold=record.check.fold,
        notes=record.notes,
    )


def _teacher(teacher: Artifact[Any], view_scores: Artifact[Any] | None) -> TeacherSummary | None:
    if view_scores is None:
        return None
    record, text = teacher.record, view_scores.record
    return TeacherSummary(
        model=record.visual_model,
        parameters=record.visual_parameters,
        top1_of_view=record.top1_by_view,
        text_model=text.model,
        text_zero_shot_top1=text.top1_by_view["rgb"] if text.image_tower else None,
        weights=record.weights,
    )


def _student(record: StudentRecord) -> StudentSummary:
    return StudentSummary(model=record.model, parameters=record.parameters, weights=record.weights)


def _quantization(artifact: Artifact[Any] | None) -> QuantizationSummary | None:
    if artifact is None:
        return None
    record = artifact.record
    return QuantizationSummary(
        quantizers=record.activation_quantizers,
        quantized_layers=len(record.layers),
        excluded_layers=record.excluded_layers,
        calibration=f"{record.calibration_method}, {record.calibration_images} training images",
    )


def _choices(inputs: Mapping[str, Artifact[Any]]) -> list[str]:
    return [inputs[name].record.choice for name in ("student", "quantized") if name in inputs]


def _curves(teacher: Artifact[Any], student: Artifact[Any]) -> dict[str, TrainingCurve]:
    of_teacher = {"teacher": teacher.record.curve} if teacher.record.curve else {}
    return {**of_teacher, **student.record.curves}


def _notes(recipe: Recipe, note: str | None) -> list[str]:
    notes = ["Every model was trained once, with the recipe's seed. Other seeds differ."]
    if recipe.model_is_given:
        notes = [
            "The model was not trained in this run. Calibration images, and fine-tuning if there "
            "was any, follow the recipe's seed."
        ]
    return [*notes, note] if note else notes


def _target(gate: Artifact[GateRecord], bundle: Artifact[BundleRecord] | None) -> TargetReport:
    packed = bundle.record if bundle and bundle.record.file else None
    return TargetReport(
        gate=gate.record,
        bundle_file=f"bundle/{packed.target}/{packed.file}" if packed else None,
        bundle_bytes=packed.bytes if packed else None,
    )


def _earlier(found: Earlier, trained: str) -> TargetReport:
    """`trained` is when the model was; both times are UTC in ISO format, in whole seconds."""
    judged = found.gate.manifest.created
    return dataclasses.replace(
        _target(found.gate, found.bundle), judged=judged, is_stale=judged < trained
    )


def _views(student: Artifact[StudentRecord]) -> ViewGallery | None:
    if student.record.view_weights is None:
        return None
    return ViewGallery(
        images=np.load(student.path(VIEW_IMAGES), allow_pickle=False),
        weights=np.load(student.path(VIEW_WEIGHTS), allow_pickle=False),
        captions=student.record.view_captions,
    )
