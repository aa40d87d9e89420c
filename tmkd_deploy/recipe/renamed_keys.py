"""Keys renamed since the last release; the next one stops accepting their old names.

`RENAMED` and `RENAMED_VALUES` are the only list: loading a recipe, `--set`, `recipe upgrade` and
the reference page all read it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tmkd_deploy.errors import RequestError
from tmkd_deploy.yaml_document import KeyPath, dotted

RENAMED = {
    "data.corrupt_images_allowed": "data.max_corrupt_images",
    "data.overlapping_images_allowed": "data.max_overlapping_images",
    "prompts.kind": "prompts.domain",
    "student.arguments": "student.model_kwargs",
    "distill.decay": "distill.lr_schedule",
    "distill.dkd_others_weight": "distill.dkd_beta",
    "distill.teacher_ramp": "distill.teacher_warmup_epochs",
    "distill.signals": "distill.teacher_outputs",
    "distill.cached_variants": "distill.cached_augmentations",
    "quantize.leave_out": "quantize.exclude_layers",
    "quantize.fallback": "quantize.mixed_precision_trials",
    "measure.warm_up_seconds": "measure.warmup_seconds",
    "measure.minimum_runs": "measure.min_runs",
    "measure.minimum_seconds": "measure.min_seconds",
    "targets[].budgets.engine_megabytes": "targets[].budgets.engine_size_mb",
}
RENAMED_VALUES = {"distill.decay": {"steps": "multistep"}}


@dataclass(frozen=True)
class Rename:
    """An old key at its path in one recipe, and its replacement."""

    old: KeyPath
    new: KeyPath
    old_value: Any
    new_value: Any

    @property
    def changes_value(self) -> bool:
        """Whether the value was renamed along with the key."""
        return bool(self.old_value != self.new_value)

    def sentence(self) -> str:
        """What was renamed to what."""
        values = f" ({self.old_value!r} is now {self.new_value!r})" if self.changes_value else ""
        return f"{dotted(self.old)} was renamed to {dotted(self.new)}{values}."


def current(section: KeyPath, key: str) -> str:
    """The current name of `key` in the section at path `section`."""
    new = RENAMED.get(_pattern((*section, key)))
    return key if new is None else new.rpartition(".")[2]


def rename(section: KeyPath, key: str, value: Any) -> Rename | None:
    """The rename that applies to `key: value` in `section`, if any."""
    if (name := current(section, key)) == key:
        return None
    values = RENAMED_VALUES.get(_pattern((*section, key)), {})
    new_value = values.get(value, value) if isinstance(value, str) else value
    return Rename((*section, key), (*section, name), value, new_value)


def translate(
    value: Any, path: KeyPath, place: Callable[[KeyPath], str]
) -> tuple[Any, list[Rename]]:
    """`value`, found at `path`, with current names instead of old ones; and the renames.

    `place` gives the file and line of a key, for errors.

    Raises:
        RequestError: a key is given under both its names.
    """
    found: list[Rename] = []
    return _translate(value, path, place, found), found


def _translate(
    value: Any, path: KeyPath, place: Callable[[KeyPath], str], found: list[Rename]
) -> Any:
    if isinstance(value, list):
        return [_translate(each, (*path, i), place, found) for i, each in enumerate(value)]
    if not isinstance(value, dict):
        return value
    result: dict[str, Any] = {}
    for key, inner in value.items():
        renamed = rename(path, key, inner)
        if renamed is None:
            result[key] = _translate(inner, (*path, key), place, found)
            continue
        name = str(renamed.new[-1])
        if name in value:
            raise RequestError(
                f"{dotted(renamed.old)} is the old name of {dotted(renamed.new)}, "
                "and both are given.",
                where=place(renamed.old),
                advice=f"Keep {dotted(renamed.new)} and remove {dotted(renamed.old)}.",
            )
        found.append(renamed)
        result[name] = renamed.new_value
    return result


def _pattern(path: KeyPath) -> str:
    """`path` as the table writes it, with "[]" for any item of a list."""
    return "".join("[]" if isinstance(part, int) else f".{part}" for part in path).lstrip(".")
