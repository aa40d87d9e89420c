"""Which keys the recipe's schema knows at a place."""

from __future__ import annotations

from typing import Any, get_args, get_origin

from pydantic import BaseModel

from tmkd_deploy.recipe.schema import Recipe
from tmkd_deploy.yaml_document import KeyPath


def keys_at(path: KeyPath) -> list[str] | None:
    """The keys that may stand at `path`; None where there is no section of the schema."""
    kind: Any = Recipe
    for part in path:
        kind = _inside(kind, part)
    return list(kind.model_fields) if _is_section(kind) else None


def _inside(kind: Any, part: str | int) -> Any:
    if _is_section(kind) and part in kind.model_fields:
        return kind.model_fields[part].annotation
    if get_origin(kind) is list and isinstance(part, int):
        return get_args(kind)[0]
    return None


def _is_section(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, BaseModel)
