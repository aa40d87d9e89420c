"""From the artifacts of a run to its report."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from tmkd_deploy import artifacts
from tmkd_deploy.artifacts import Artifact, Record
from tmkd_deploy.bundle.pack import BundleRecord
from tmkd_deploy.gate.choose import Judged
from tmkd_deploy.measure.latency import machine
from tmkd_deploy.recipe.dump import to_yaml
from tmkd_deploy.recipe.schema import Recipe
from tmkd_deploy.records.distillation import StudentRecord
from tmkd_deploy.report.html import Html
from tmkd_deploy.report.interface import (
    DataFigures,
    QuantizationFigures,
    RunReport,
    StageTime,
    StudentFigures,
    TargetReport,
    TeacherFigures,
    Views,
    write,
)
from tmkd_deploy.report.json import Json
from tmkd_deploy.report.junit import Junit
from tmkd_deploy.report.markdown import Markdown


class ReportRecord(Record):
    """The files of a report."""

    files: list[str]


def write_report(
    recipe: Recipe,
    upstream: Mapping[str, Artifact[Any]],
    judged: Mapping[str, Artifact[Judged]],
    bundles: Mapping[str, Artifact[BundleRecord] | None],
    times: Mapping[tuple[str, str | None], tuple[Path, bool]],
    folder: Path,
) -> ReportRecord:
    """Write every format of the report into `folder`.

    `upstream` holds the artifacts data, teacher, weighed, student, unless switched off quantized,
    and fallback where layers to leave out were sought; `times` the folder of each stage's artifact
    and whether it was reused.
    """
    report = RunReport(
        name=recipe.name,
        recipe_yaml=to_yaml(recipe),
        data=_data(upstream["data"]),
        teacher=_teacher(upstream["teacher"], upstream["weighed"]),
        student=StudentFigures(
            model=upstream["student"].record.model, parameters=upstream["student"].record.parameters
        ),
        quantization=_quantization(upstream.get("quantized")),
        targets=[_target(artifact, bundles[name]) for name, artifact in judged.items()],
        views=_views(upstream["student"]),
        view_weights=upstream["student"].record.view_weights,
        machine={name: str(value) for name, value in machine().items()},
        stages=[
            StageTime(
                stage if target is None else f"{stage} {target}",
                artifacts.read_manifest(place).seconds,
                reused,
            )
            for (stage, target), (place, reused) in times.items()
        ],
        notes=_notes(upstream),
    )
    paths = write(report, folder, [Html(), Markdown(), Junit(), Json()])
    return ReportRecord(files=[path.name for path in paths])


def publish(artifact: Artifact[ReportRecord], folder: Path) -> None:
    """Copy the report's files to the top of the run folder, where people look for them."""
    for name in artifact.record.files:
        artifacts.write_text(folder / name, artifact.path(name).read_text(encoding="utf-8"))


def _data(artifact: Artifact[Any]) -> DataFigures:
    record = artifact.record
    return DataFigures(record.class_names, record.train_images, record.test_images, record.notes)


def _teacher(taught: Artifact[Any], view_scores: Artifact[Any]) -> TeacherFigures:
    record, text = taught.record, view_scores.record
    return TeacherFigures(
        model=record.visual_model,
        parameters=record.visual_parameters,
        top1_of_view=record.top1_by_view,
        text_model=text.model,
        text_zero_shot_top1=text.top1_by_view["rgb"] if text.image_tower else None,
    )


def _quantization(artifact: Artifact[Any] | None) -> QuantizationFigures | None:
    if artifact is None:
        return None
    record = artifact.record
    return QuantizationFigures(
        quantizers=record.activation_quantizers,
        quantized_layers=len(record.layers),
        excluded_layers=record.excluded_layers,
        calibration=f"{record.calibration_method}, {record.calibration_images} training images",
    )


def _notes(upstream: Mapping[str, Artifact[Any]]) -> list[str]:
    notes = [
        "Every training ran once, with the seed in the recipe; another seed gives other figures."
    ]
    if "quantized" in upstream:
        record = upstream["quantized"].record
        notes.append(
            f"Quantization after training, by calibration alone, gives "
            f"{100 * record.post_training_top1:.1f} % top-1; fine-tuning through fake quantizers "
            f"gives {100 * record.top1:.1f} %."
        )
    if "fallback" in upstream:
        notes.append(upstream["fallback"].record.summary)
    return notes


def _target(judged: Artifact[Judged], bundle: Artifact[BundleRecord] | None) -> TargetReport:
    return TargetReport(
        measurements=judged.record.measurements,
        verdict=judged.record.verdict,
        bundle_file=f"bundle/{bundle.record.target}/{bundle.record.file}" if bundle else None,
        bundle_bytes=bundle.record.bytes if bundle else None,
    )


def _views(student: Artifact[StudentRecord]) -> Views:
    return Views(
        images=np.load(student.path("views.npy"), allow_pickle=False),
        weights=np.load(student.path("view_weights.npy"), allow_pickle=False),
        captions=student.record.view_captions,
    )
