"""Prompt templates by kind of image; '{class}' stands for the name of the class.

They were written by hand for every class alike: no language model is asked about classes.
"""

from __future__ import annotations

from typing import Literal

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
    # names of classes are defects here ("scratches") or states ("good"): after a colon both read
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
