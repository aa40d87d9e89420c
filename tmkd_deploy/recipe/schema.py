"""The schema of recipes."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    Field,
    SerializerFunctionWrapHandler,
    field_validator,
    model_serializer,
    model_validator,
)

from tmkd_deploy.recipe import name_pattern
from tmkd_deploy.recipe.deployment import (
    Budgets,
    Calibration,
    Decision,
    Export,
    Measure,
    Quantize,
    Target,
)
from tmkd_deploy.recipe.prompts import Prompts
from tmkd_deploy.recipe.section import Fraction, Section
from tmkd_deploy.recipe.student import Student
from tmkd_deploy.recipe.training import (
    Distill,
    Teacher,
    TextTeacher,
    Training,
    Views,
    VisualTeacher,
)
from tmkd_deploy.records.class_names import class_name_problem
from tmkd_deploy.records.types import height_and_width
from tmkd_deploy.targets.catalog import canonical
from tmkd_deploy.yaml_document import to_yaml

__all__ = [
    "Budgets",
    "Calibration",
    "Columns",
    "Data",
    "Decision",
    "Distill",
    "Export",
    "Fold",
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


class Columns(Section):
    """The columns of a label table."""

    image: str = Field("image", description="Path of the image, from the table's folder.")
    label: str = Field("label", description="Class name or number.")
    split: str | None = Field(
        None, description="Split: train, val or test. By default 'split', if there is one."
    )
    group: str | None = Field(
        None, description="Group, see 'group_by'. By default 'group', if there is one."
    )


class Fold(Section):
    """One of several folds, each of which is the test split of a run of its own."""

    number: Annotated[int, Field(ge=1)] = Field(description="The fold of this run, from 1.")
    of: Annotated[int, Field(ge=2, le=20)] = Field(description="How many folds there are.")

    @model_validator(mode="after")
    def _is_one_of_them(self) -> Fold:
        if self.number > self.of:
            raise ValueError(f"there are {self.of} folds and no fold {self.number}")
        return self


Std = Annotated[float, Field(gt=0.0, le=1.0)]
Side = Annotated[int, Field(ge=16, le=1024)]


class Data(Section):
    """The images and how they are split."""

    source: Literal["folder", "table", "parquet", "webdataset", "elpv"] = Field(
        description="Layout of the data; 'table' is a CSV or JSON file of labels, 'elpv' the data "
        "set in the package elpv-dataset."
    )
    path: Path | None = Field(
        None,
        description="A folder, file or glob, to be split unless it names its own splits, as a "
        "folder with train/, val/ and test/ does.",
    )
    train: Path | None = Field(None, description="Training data, if already split.")
    val: Path | None = Field(
        None,
        description="Validation data, if already split. Without 'test' they are the test data.",
    )
    test: Path | None = Field(None, description="Test data, if already split.")
    test_fraction: Annotated[float, Field(gt=0.0, lt=1.0)] = Field(
        0.2, description="Share of the images held out for the verdict, if the data name no split."
    )
    fold: Fold | None = Field(
        None, description="Take a fold for the test split, in place of 'test_fraction'."
    )
    val_fraction: Annotated[float, Field(gt=0.0, lt=1.0)] = Field(
        0.15,
        description="Share of the images outside the test split held out for every choice, if the "
        "data have no validation split beside a test split.",
    )
    split_seed: int = Field(0, description="Seed of the split.")
    group_by: str | None = Field(
        None,
        description="Images of one group stay in one split. 'folder': the folder below that of the "
        "class; a file-name pattern such as '{group}_*.png'; or 'column:NAME' of a table.",
    )
    near_duplicates: Literal["together", "ignore"] = Field(
        "together",
        description="Near-duplicates, such as exposures of one part or neighbouring frames, stay "
        "in one split ('together'), or are split like other images ('ignore').",
    )
    columns: Columns = Field(Columns(), description="The columns of a label table.")
    image_size: Side | Annotated[list[Side], Field(min_length=2, max_length=2)] = Field(
        224,
        description="Height and width of the models' input in pixels; a list of both where they "
        "differ, such as '[64, 192]'.",
    )
    resize: Literal["squash", "letterbox", "crop"] = Field(
        "squash",
        description="How images of another shape are made to fit: 'squash' scales both sides on "
        "their own; 'letterbox' keeps the shapes and fills up with grey; 'crop' takes the centre.",
    )
    grayscale: bool = Field(
        False,
        description="Reduce images to their brightness, repeated in all three channels, so that "
        "colour cannot matter and pretrained weights still fit.",
    )
    mean: Literal["auto"] | Annotated[list[Fraction], Field(min_length=3, max_length=3)] | None = (
        Field(
            None,
            description="Mean of red, green and blue in [0, 1] that the models subtract; 'auto' "
            "computes it on the training split. By default what the weights expect, or 128/255 "
            "without weights.",
        )
    )
    std: Literal["auto"] | Annotated[list[Std], Field(min_length=3, max_length=3)] | None = Field(
        None,
        description="Standard deviation that they then divide by, as for 'mean'; set both or none.",
    )
    max_corrupt_images: Annotated[int, Field(ge=0)] = Field(
        0, description="How many unreadable images may be skipped; each is named in a warning."
    )
    max_overlapping_images: Annotated[int, Field(ge=0)] | None = Field(
        None,
        description="How many images may repeat one of a later split (train, val, test); each is "
        "dropped from the earlier split and named in a warning. `null`: 1 % as many as the "
        "validation and test splits of the data have.",
    )
    workers: Annotated[int, Field(ge=0)] = Field(
        0,
        description="Processes that decode images; 0 uses one per core. "
        "The result does not depend on it.",
    )
    class_names: list[str] | dict[str, str] | None = Field(
        None,
        description="Names in the order of the labels, or new names by those in the data, such as "
        "'00000: speed limit 20'. Read from the data by default.",
    )

    @field_validator("class_names")
    @classmethod
    def _names_differ(
        cls, names: list[str] | dict[str, str] | None
    ) -> list[str] | dict[str, str] | None:
        given = list(names.values()) if isinstance(names, dict) else names
        if given is not None and (problem := class_name_problem(given)):
            raise ValueError(problem[0].lower() + problem.removesuffix(".")[1:])
        return names

    @field_validator("group_by")
    @classmethod
    def _groups_are_defined(cls, group_by: str | None) -> str | None:
        if group_by and group_by != "folder" and not group_by.startswith("column:"):
            name_pattern.parse(group_by)
        return group_by

    @model_validator(mode="after")
    def _paths_fit_the_source(self) -> Data:
        splits = (self.train, self.val, self.test)
        if self.source == "elpv":
            if self.path or any(splits):
                raise ValueError("the source 'elpv' includes its images: remove the paths")
        elif self.path is not None:
            if any(splits):
                raise ValueError("set either 'path' or 'train', 'val' and 'test', not all of them")
        elif self.train is None or (self.val is None and self.test is None):
            raise ValueError("set either 'path' or 'train' with 'test', 'val' or both")
        return self

    @model_validator(mode="after")
    def _one_rule_for_the_test_split(self) -> Data:
        if self.fold and "test_fraction" in self.model_fields_set:
            raise ValueError("a fold is the test split: remove 'test_fraction' or 'fold'")
        return self

    @model_serializer(mode="wrap")
    def _without_unused_fraction(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        values: dict[str, Any] = handler(self)
        if self.fold:
            values.pop("test_fraction", None)
        return values

    @model_validator(mode="after")
    def _normalisation_is_whole(self) -> Data:
        if (self.mean is None) != (self.std is None):
            raise ValueError("set both 'mean' and 'std', or neither")
        return self

    @model_validator(mode="after")
    def _groups_fit_the_source(self) -> Data:
        column = self.group_by is not None and self.group_by.startswith("column:")
        if column and self.source != "table":
            raise ValueError("'group_by: column:NAME' needs the source 'table'")
        if self.group_by and self.source in ("parquet", "elpv"):
            raise ValueError(f"'group_by' is not available for the source '{self.source}'")
        if self.columns != Columns() and self.source != "table":
            raise ValueError("'columns' belongs to the source 'table'")
        return self


class Recipe(Section):
    """A recipe: the images, the models, how they are trained, and the devices to build for."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")] = Field(
        description="Names the run folder: runs/<name>."
    )
    seed: Annotated[int, Field(ge=0, lt=2**31)] = Field(
        0, description="Seed of training, calibration and bootstrap."
    )
    threads: Annotated[int, Field(ge=0)] = Field(
        0, description="CPU threads for training; 0 uses one per core."
    )
    data: Data = Field(description="The images and how they are split.")
    views: Views = Field(Views(), description="The views that the teachers see.")
    prompts: Prompts = Field(Prompts(), description="Prompts of the text teacher.")
    teacher: Teacher = Field(Teacher(), description="The visual and the text teacher.")
    student: Student = Field(Student(), description="The model to deploy.")
    distill: Distill = Field(Distill(), description="Distillation of the student.")
    training: Training = Field(Training(), description="Settings shared by all training stages.")
    quantize: Quantize = Field(Quantize(), description="Quantization of the student.")
    export: Export = Field(Export(), description="Export to ONNX.")
    measure: Measure = Field(Measure(), description="Latency measurement.")
    decision: Decision = Field(
        Decision(), description="How scores become a class: by default, the highest wins."
    )
    targets: list[Target] = Field(min_length=1, description="The devices to build for.")

    @model_validator(mode="after")
    def _targets_once(self) -> Recipe:
        names = [canonical(target.target) for target in self.targets]
        if len(set(names)) != len(names):
            raise ValueError("targets: a target is listed twice")
        return self

    @property
    def model_is_given(self) -> bool:
        """Whether the student's own weights are taken as they are, without any teacher."""
        return self.distill.epochs == 0

    @model_validator(mode="after")
    def _teachers_are_trained(self) -> Recipe:
        if not self.model_is_given:
            return self
        unused = {"teacher": Teacher(), "views": Views(), "prompts": Prompts()}
        given = [key for key, default in unused.items() if getattr(self, key) != default]
        if given:
            raise ValueError(
                "with 'distill.epochs: 0' the student's own weights are taken as they are and "
                f"there is no teacher: remove {' and '.join(given)}, or set distill.epochs"
            )
        return self

    @model_validator(mode="after")
    def _quarter_turns_fit(self) -> Recipe:
        height, width = height_and_width(self.data.image_size)
        if self.distill.augment == "dihedral" and height != width:
            raise ValueError(
                "distill.augment: 'dihedral' turns images by a quarter, which needs a square "
                "data.image_size"
            )
        return self

    @model_validator(mode="after")
    def _trials_have_a_budget(self) -> Recipe:
        searched = self.quantize.enabled and self.quantize.mixed_precision_trials
        if searched and not self.targets[0].budgets.limits_accuracy:
            raise ValueError(
                "quantize.mixed_precision_trials needs an accuracy budget for the first target"
            )
        return self

    def to_yaml(self) -> str:
        """YAML with every default written out, which loads back to an equal recipe."""
        return to_yaml(self.model_dump(mode="json"))


def json_schema() -> dict[str, Any]:
    """The recipe's JSON Schema, for editors."""
    return Recipe.model_json_schema()
