"""Prior-aware prompts: what a class looks like in each view, in words."""

from __future__ import annotations

from tmkd_deploy.recipe.schema import Prompts
from tmkd_deploy.recipe.vocabulary import View


def fill(prompts: Prompts, view: View, class_names: list[str]) -> list[list[str]]:
    """One list of sentences per template of `view`, each with a sentence per class."""
    templates: list[str] = getattr(prompts, view)
    return [
        [template.replace("{class}", readable(name)) for name in class_names]
        for template in templates
    ]


def readable(class_name: str) -> str:
    """A class name as words: 'rolled-in_scale' is read by a text encoder as 'rolled in scale'."""
    return class_name.replace("_", " ").replace("-", " ").strip()
