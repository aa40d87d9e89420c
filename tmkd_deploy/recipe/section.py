"""The base of every section of the recipe."""

from __future__ import annotations

from typing import Annotated, Any, get_args, get_origin

from pydantic import BaseModel, ConfigDict, Field

from tmkd_deploy.yaml_document import KeyPath

Fraction = Annotated[float, Field(ge=0.0, le=1.0)]
Positive = Annotated[float, Field(gt=0.0)]
NotNegative = Annotated[float, Field(ge=0.0)]
Count = Annotated[int, Field(ge=1)]


class Section(BaseModel):
    """A section of the recipe: unknown keys are errors, and loaded values cannot change."""

    model_config = ConfigDict(extra="forbid", frozen=True, protected_namespaces=())

    @classmethod
    def keys_at(cls, path: KeyPath) -> list[str] | None:
        """The keys allowed at `path` below this section; None if no section belongs there."""
        kind: Any = cls
        for part in path:
            kind = _inside(kind, part)
        return list(kind.model_fields) if _is_section(kind) else None


def _inside(kind: Any, part: str | int) -> Any:
    if _is_section(kind) and part in kind.model_fields:
        annotation = kind.model_fields[part].annotation
        if get_origin(annotation) is list:
            return annotation
        return next(filter(_is_section, get_args(annotation)), annotation)  # Section | None
    if get_origin(kind) is list and isinstance(part, int):
        return get_args(kind)[0]
    return None


def _is_section(kind: Any) -> bool:
    # Python 3.10 takes dict[str, int] for a type
    return isinstance(kind, type) and get_origin(kind) is None and issubclass(kind, Section)
