"""From the artifacts of a run to its report."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from tmkd_deploy import artifacts
from tmkd_deploy.artifacts import Artifact, Facts
from tmkd_deploy.bundle.pack import BundleFacts
from tmkd_deploy.gate.choose import Judged
from tmkd_deploy.measure.latency import machine
from tmkd_deploy.recipe.dump import to_yaml
from tmkd_deploy.recipe.schema import Recipe
from tmkd_deploy.records.distillation import StudentFacts
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


class ReportFacts(Facts):
    """The files of a report."""

    files: list[str]


def write_report(
    recipe: Recipe,
    upstream: Mapping[str, Artifact[Any]],
    judged: Mapping[str, Artifact[Judged]],
    bundles: Mapping[str, Artifact[BundleFacts] | None],
    times: Mapping[tuple[str, str | None], tuple[Path, bool]],
    folder: Path,
) -> ReportFacts:
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
            model=upstream["student"].facts.model, parameters=upstream["student"].facts.parameters
        ),
        quantization=_quantization(upstream.get("quantized")),
        targets=[_target(artifact, bundles[name]) for name, artifact in judged.items()],
        views=_views(upstream["student"]),
        view_weights=upstream["student"].facts.view_weights,
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
    return ReportFacts(files=[path.name for path in paths])


def publish(artifact: Artifact[ReportFacts], folder: Path) -> None:
    """Copy the report's files to the top of the run folder, where people look for them."""
    for name in artifact.facts.files:
        artifacts.write_text(folder / name, artifact.path(name).read_text(encoding="utf-8"))


def _data(artifact: Artifact[Any]) -> DataFigures:
    facts = artifact.facts
    return DataFigures(facts.class_names, facts.train_images, facts.test_images, facts.notes)


def _teacher(taught: Artifact[Any], weighed: Artifact[Any]) -> TeacherFigures:
    facts, text = taught.facts, weighed.facts
    return TeacherFigures(
        model=facts.visual_model,
        parameters=facts.visual_parameters,
        top1_of_view=facts.top1_by_view,
        text_model=text.model,
        text_zero_shot_top1=text.top1_by_view["rgb"] if text.image_tower else None,
    )


def _quantization(artifact: Artifact[Any] | None) -> QuantizationFigures | None:
    if artifact is None:
        return None
    facts = artifact.facts
    return QuantizationFigures(
        quantizers=facts.activation_quantizers,
        quantized_layers=len(facts.layers),
        left_out=facts.left_out,
        calibration=f"{facts.calibration_method}, {facts.calibration_images} training images",
    )


def _notes(upstream: Mapping[str, Artifact[Any]]) -> list[str]:
    notes = [
        "Every training ran once, with the seed in the recipe; another seed gives other figures."
    ]
    if "quantized" in upstream:
        facts = upstream["quantized"].facts
        notes.append(
            f"Quantization after training, by calibration alone, gives "
            f"{100 * facts.post_training_top1:.1f} % top-1; fine-tuning through fake quantizers "
            f"gives {100 * facts.top1:.1f} %."
        )
    if "fallback" in upstream:
        notes.append(upstream["fallback"].facts.summary)
    return notes


def _target(judged: Artifact[Judged], bundle: Artifact[BundleFacts] | None) -> TargetReport:
    return TargetReport(
        measurements=judged.facts.measurements,
        verdict=judged.facts.verdict,
        bundle_file=f"bundle/{bundle.facts.target}/{bundle.facts.file}" if bundle else None,
        bundle_bytes=bundle.facts.bytes if bundle else None,
    )


def _views(student: Artifact[StudentFacts]) -> Views:
    return Views(
        images=np.load(student.path("views.npy"), allow_pickle=False),
        weights=np.load(student.path("view_weights.npy"), allow_pickle=False),
        captions=student.facts.view_captions,
    )
