"""The prompts of the text teacher, with templates for each domain.

The templates do not depend on the classes, and no language model is queried for them.
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, model_validator

from tmkd_deploy.recipe.section import Section
from tmkd_deploy.records.types import View

Domain = Literal["general", "industrial", "electroluminescence"]

PROMPT_SETS: dict[Domain, dict[View, list[str]]] = {
    "general": {
        "rgb": ["a photo of a {class}", "a picture of a {class}"],
        "edge": ["an image of a {class} with sharp edges and contours", "the outline of a {class}"],
        "freq": [
            "the fine texture and high-frequency detail of a {class}",
            "a high-pass filtered image of a {class}",
        ],
    },
    # class names are defects ("scratches") or states ("good"): after a colon both read well
    "industrial": {
        "rgb": [
            "an industrial inspection image of a surface: {class}",
            "a photo of a manufactured part: {class}",
        ],
        "edge": [
            "an inspection image of a surface with sharp edges and contours: {class}",
            "the outlines of a manufactured part: {class}",
        ],
        "freq": [
            "the fine texture and high-frequency detail of a surface: {class}",
            "a high-pass filtered inspection image of a part: {class}",
        ],
    },
    "electroluminescence": {
        "rgb": [
            "an electroluminescence image of a {class} solar cell",
            "a photo of a {class} photovoltaic cell",
        ],
        "edge": [
            "an electroluminescence image of a {class} solar cell with sharp edges and contours",
            "the crack lines and busbars of a {class} solar cell",
        ],
        "freq": [
            "the fine texture and high-frequency detail of a {class} solar cell",
            "a high-pass filtered image of a {class} solar cell",
        ],
    },
}


class Prompts(Section):
    """Prompt templates for each view; '{class}' stands for the class name."""

    domain: Domain = Field(
        "general",
        description="What the images show; selects the templates of every view that has none of "
        "its own below.",
    )
    rgb: list[str] = Field(
        PROMPT_SETS["general"]["rgb"],
        min_length=1,
        description="Templates for the unmodified image.",
    )
    edge: list[str] = Field(
        PROMPT_SETS["general"]["edge"],
        min_length=1,
        description="Templates for the edge-enhanced view.",
    )
    freq: list[str] = Field(
        PROMPT_SETS["general"]["freq"],
        min_length=1,
        description="Templates for the high-frequency view.",
    )

    @model_validator(mode="before")
    @classmethod
    def _fill_in_templates(cls, given: Any) -> Any:
        if not isinstance(given, dict) or given.get("domain") not in list(PROMPT_SETS):
            return given  # validation reports what is wrong with it
        return {**PROMPT_SETS[given["domain"]], **given}
