"""The recipe's section on the student: a model by its name, or an ONNX file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, Field, field_validator
from pydantic_core import PydanticCustomError

from tmkd_deploy.models import model_kwargs as keywords
from tmkd_deploy.models.onnx_name import is_onnx_file
from tmkd_deploy.recipe.section import Section

MODEL = (
    "The name of a timm model, of a torchvision model as 'torchvision:resnet18', or of a model of "
    "an installed package as 'PACKAGE:NAME'; see [models](../how-to/models.md)."
)


def _known_keyword(keyword: str) -> str:
    if keyword not in keywords.KEYWORDS:
        raise PydanticCustomError("unknown_keyword", "There is no such keyword.")
    return keyword


class Student(Section):
    """The student, trained from scratch unless weights are given."""

    model: str = Field(
        "resnet10t",
        description=f"{MODEL} Or the path of an ONNX file, which brings its own weights; see "
        "[ONNX files](../how-to/models.md#quantize-an-onnx-file).",
    )
    model_kwargs: dict[
        Annotated[str, AfterValidator(_known_keyword)], bool | int | float | str | list[int | float]
    ] = Field(
        default_factory=dict,
        description="Keyword arguments for the model, such as channel widths; "
        "[all keywords](#model-keywords).",
    )
    weights: str = Field("none", description="Initial weights, as for the visual teacher.")

    @property
    def is_onnx_file(self) -> bool:
        """Whether the model is a file and not a name."""
        return is_onnx_file(self.model)

    @property
    def shown_model(self) -> str:
        """The model's name for a report: that of a file is without folders."""
        return Path(self.model).name if self.is_onnx_file else self.model

    @field_validator("model_kwargs")
    @classmethod
    def _values_fit(cls, given: dict[str, Any]) -> dict[str, Any]:
        for keyword, value in given.items():
            if expected := keywords.wrong_value(keyword, value):
                raise ValueError(f"{keyword!r} must be {expected}")
        return given
