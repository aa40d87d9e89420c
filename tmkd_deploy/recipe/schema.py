"""The recipe: everything a user asks for, in one closed schema with every default visible."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from tmkd_deploy.recipe.deployment import Budgets, Calibration, Export, Measure, Quantize, Target
from tmkd_deploy.recipe.section import Section
from tmkd_deploy.recipe.training import (
    Distill,
    Prompts,
    Student,
    Teacher,
    TextTeacher,
    Training,
    Views,
    VisualTeacher,
)
from tmkd_deploy.records.class_names import fault
from tmkd_deploy.targets.catalog import canonical

__all__ = [
    "Budgets",
    "Calibration",
    "Data",
    "Distill",
    "Export",
    "Measure",
    "Prompts",
    "Quantize",
    "Recipe",
    "Section",
    "Student",
    "Target",
    "Teacher",
    "TextTeacher",
    "Training",
    "Views",
    "VisualTeacher",
    "json_schema",
]


class Data(Section):
    """Where the images come from and how they are split."""

    source: Literal["folder", "parquet", "webdataset", "elpv"] = Field(
        description="The layout of the data; 'elpv' is the data set of the package elpv-dataset."
    )
    path: Path | None = Field(
        None, description="One folder, file or glob that is split here into train and test."
    )
    train: Path | None = Field(None, description="Training data, when a split exists already.")
    test: Path | None = Field(None, description="Test data, when a split exists already.")
    test_fraction: Annotated[float, Field(gt=0.0, lt=1.0)] = Field(
        0.2, description="Share of the images held out when 'path' is split."
    )
    split_seed: int = Field(0, description="Seed of that split.")
    image_size: Annotated[int, Field(ge=16, le=1024)] = Field(
        224, description="Height and width in pixels of what the models see."
    )
    max_corrupt_images: Annotated[int, Field(ge=0)] = Field(
        0, description="How many unreadable images may be skipped; each one is named."
    )
    max_overlapping_images: Annotated[int, Field(ge=0)] = Field(
        0,
        description="How many training images may repeat a test image; they are dropped from the "
        "training split, each one named.",
    )
    workers: Annotated[int, Field(ge=0)] = Field(
        0,
        description="Processes that decode images; 0 takes one for each core. "
        "The result does not depend on it.",
    )
    class_names: list[str] | None = Field(
        None, description="Names in the order of the labels; read from the data where left out."
    )

    @field_validator("class_names")
    @classmethod
    def _names_differ(cls, names: list[str] | None) -> list[str] | None:
        if names is not None and (problem := fault(names)):
            raise ValueError(problem[0].lower() + problem.removesuffix(".")[1:])
        return names

    @model_validator(mode="after")
    def _paths_fit_the_source(self) -> Data:
        if self.source == "elpv":
            if self.path or self.train or self.test:
                raise ValueError("the source 'elpv' brings its own images: give no path")
        elif self.path is not None:
            if self.train or self.test:
                raise ValueError("give either 'path' or both 'train' and 'test', not all of them")
        elif self.train is None or self.test is None:
            raise ValueError("give either 'path' or both 'train' and 'test'")
        return self


class Recipe(Section):
    """The whole recipe."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")] = Field(
        description="Names the run folder: runs/<name>."
    )
    seed: Annotated[int, Field(ge=0, lt=2**31)] = Field(
        0, description="Seed of training, calibration and bootstrap."
    )
    threads: Annotated[int, Field(ge=0)] = Field(
        0, description="Threads for training on a CPU; 0 takes one for each core."
    )
    data: Data = Field(description="Where the images come from.")
    views: Views = Field(Views(), description="How the views are made.")
    prompts: Prompts = Field(Prompts(), description="What the text teacher is told of each view.")
    teacher: Teacher = Field(Teacher(), description="The two teachers.")
    student: Student = Field(Student(), description="The model that ships.")
    distill: Distill = Field(Distill(), description="How the student is trained.")
    training: Training = Field(Training(), description="How every model is trained.")
    quantize: Quantize = Field(Quantize(), description="How the student is quantized.")
    export: Export = Field(Export(), description="How models become ONNX files.")
    measure: Measure = Field(Measure(), description="How engines are timed.")
    targets: list[Target] = Field(
        min_length=1, description="The devices to build for; one entry each."
    )

    @model_validator(mode="after")
    def _targets_once(self) -> Recipe:
        names = [canonical(target.target) for target in self.targets]
        if len(set(names)) != len(names):
            raise ValueError("targets: a target is named twice")
        return self

    @model_validator(mode="after")
    def _fallback_has_a_budget(self) -> Recipe:
        asked = self.quantize.enabled and self.quantize.mixed_precision_trials
        if asked and not self.targets[0].budgets.limits_accuracy:
            raise ValueError(
                "quantize.mixed_precision_trials: the first target has no accuracy budget to keep"
            )
        return self


def json_schema() -> dict[str, Any]:
    """The recipe's JSON Schema, for editors."""
    return Recipe.model_json_schema()
