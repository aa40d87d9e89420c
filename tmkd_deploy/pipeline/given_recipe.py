"""A first recipe for a model that has been trained, and for data that are at hand."""

from __future__ import annotations

import json
import os
from pathlib import Path
from string import Template

from tmkd_deploy.errors import RequestError
from tmkd_deploy.pipeline.proposed_recipe import about_data, look_at
from tmkd_deploy.recipe import starter
from tmkd_deploy.recipe.load import NAMED_WEIGHTS, from_text
from tmkd_deploy.recipe.schema import Student
from tmkd_deploy.targets import catalog

_TEMPLATE = starter.TEMPLATE.with_name("given.yaml")


def write(path: Path, data: Path, name: str, target: str, student: str, weights: str) -> None:
    """Write a recipe that takes `student` with its `weights` as it is; `path` must not exist.

    Raises:
        RequestError: a name is not valid, the weights do not exist, or `path` exists.
        DataError: there are no such data, or they cannot be used.
    """
    if weights not in NAMED_WEIGHTS:
        weights = _relative(Path(weights), path, "--weights")
    size, why = _trained_on(student)
    text = fill(
        path,
        data,
        name=json.dumps(name),
        target=catalog.get(target).name,
        size=str(size),
        sizes=why,
        normalisation="  # mean and std: those that the model was trained with, of pixels in "
        "[0, 1]; by default those\n  # of its published weights\n",
        student=json.dumps(student),
        model_kwargs="",
        weights=f"  weights: {json.dumps(weights)}\n",
    )
    from_text(text, path)
    starter.write_new(path, text)


def _relative(file: Path, recipe: Path, option: str) -> str:
    """A file as a recipe names it.

    Raises:
        RequestError: it does not exist.
    """
    if not file.is_file():
        raise RequestError(
            "There is no such file.", where=f"{option} {file}", advice="Correct the path."
        )
    found = os.path.relpath(file.absolute(), recipe.absolute().parent)
    return found if os.sep in found else f".{os.sep}{found}"  # a bare name would be no path


def fill(path: Path, data: Path, **values: str) -> str:
    """The template with these values, and with what is found in `data`."""
    dataset, headers = look_at(data)
    template = Template(_TEMPLATE.read_text(encoding="utf-8"))
    return template.substitute(**about_data(dataset, headers, data, path), **values)


def _trained_on(student: str) -> tuple[int, str]:
    """The size of the images that the model's published weights saw, and the reason for it."""
    from tmkd_deploy.models.network import Network
    from tmkd_deploy.pipeline.model_check import create_empty

    built = create_empty(Student(model=student), 2, 224)
    side = built.network.side if built and isinstance(built.network, Network) else None
    if side is None:
        return 224, "set the size that your model was trained on"
    return side, "what its published weights saw; set the size that yours was trained on"
