"""Prior-aware prompts: sentences that describe what a class looks like in each view."""

from __future__ import annotations

from collections.abc import Sequence

from tmkd_deploy.records.class_names import words


def fill_template(template: str, class_names: Sequence[str]) -> list[str]:
    """One sentence per class: `template` with each class name in place of `{class}`."""
    return [template.replace("{class}", readable(name)) for name in class_names]


def readable(class_name: str) -> str:
    """A class name as plain words: 'rolled-in_scale' becomes 'rolled in scale'."""
    return " ".join(words(class_name))
