"""Prior-aware prompts: what a class looks like in each view, in words."""

from __future__ import annotations

from collections.abc import Sequence

from tmkd_deploy.records.class_names import words


def fill(template: str, class_names: Sequence[str]) -> list[str]:
    """A sentence for each class."""
    return [template.replace("{class}", readable(name)) for name in class_names]


def readable(class_name: str) -> str:
    """A class name as words: 'rolled-in_scale' is read by a text encoder as 'rolled in scale'."""
    return " ".join(words(class_name))
