"""What of a model counts for a stage: its name, and what stands behind its name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tmkd_deploy.artifacts import sha256_of
from tmkd_deploy.models.entry_points import identity
from tmkd_deploy.models.onnx_name import is_onnx_file
from tmkd_deploy.pipeline.stage import to_jsonable
from tmkd_deploy.recipe.schema import Student, VisualTeacher


def model_params(section: Student | VisualTeacher) -> dict[str, Any]:
    """A section on a model; a file of weights counts by content, a package by its code."""
    params = {**to_jsonable(section), **named(section.model)}
    path = Path(section.weights)
    if path.is_absolute():  # as a loaded recipe has files, and nothing but files
        params["weights"] = sha256_of(path) if path.is_file() else None
    return params


def named(model: str) -> dict[str, Any]:
    """A model alone, for stages that load trained weights into it; a file counts by content."""
    if is_onnx_file(model):
        path = Path(model)
        return {"model": path.name, "file": sha256_of(path) if path.is_file() else None}
    return {"model": model, "package": identity(model)}
