"""A recipe for an ONNX file and a folder of images, so that a command needs nothing else."""

from __future__ import annotations

import json
import os
import re
import shlex
from collections.abc import Sequence
from pathlib import Path

from tmkd_deploy import artifacts
from tmkd_deploy.data.prepared import DataRecord, PreparedData
from tmkd_deploy.errors import RequestError
from tmkd_deploy.events import Events
from tmkd_deploy.pipeline import given_recipe
from tmkd_deploy.recipe import starter
from tmkd_deploy.recipe.load import from_text, load
from tmkd_deploy.recipe.schema import Recipe
from tmkd_deploy.targets import catalog

_SIZE = 224  # where the file takes any


def recipe_for(
    file: Path,
    data: Path | None,
    runs: Path,
    target: str,
    overrides: Sequence[str],
    events: Events,
) -> Path:
    """The recipe `runs/<name of the file>.yaml`, written now unless it is there already.

    What pixel values the file expects is tried on validation images unless `overrides` set it.

    Raises:
        RequestError: there are no images to look at, the recipe is for another file, or it is not
            clear what pixel values it expects.
        DataError: the file or the images cannot be used.
    """
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", file.stem).strip("-._")[:64] or "model"
    path = runs / f"{name}.yaml"
    if path.exists():
        _refuse_another(path, file, data)
        events.say(f"The recipe is {path}, which an earlier command wrote.")
        return path
    if data is None:
        raise RequestError(
            "An ONNX file needs images to be calibrated and measured on.",
            where=str(file),
            advice="Name their folder, which holds one folder per class: --data FOLDER",
        )
    runs.mkdir(parents=True, exist_ok=True)
    _write(path, file, data, name, target, overrides, events)
    events.say(f"Wrote the recipe {path}; edit its budgets.")
    return path


def _write(
    path: Path,
    file: Path,
    data: Path,
    name: str,
    target: str,
    overrides: Sequence[str],
    events: Events,
) -> None:
    """Write the recipe; what `overrides` say of the images is written into it."""
    from tmkd_deploy.models.onnx_import.read import read

    fixed = read(file).size

    def text(size: str, lines: tuple[str, str] = ("", "")) -> str:
        return given_recipe.fill(
            path,
            data,
            name=json.dumps(name),
            target=catalog.get(target).name,
            size=size,
            sizes="what the file takes"
            if fixed
            else "set what it was trained on; the file takes any",
            normalisation=lines[0],
            student=json.dumps(os.path.relpath(file.absolute(), path.absolute().parent)),
            model_kwargs=lines[1],
            weights="",
        )

    recipe = from_text(text(json.dumps(list(fixed or (_SIZE, _SIZE)))), path, overrides)
    if not fixed and not any(each.startswith("data.image_size=") for each in overrides):
        events.warn(
            f"The ONNX file takes images of any size, so they are resized to {_SIZE} x {_SIZE} "
            "pixels. If it was trained on another size, its accuracy suffers: set data.image_size."
        )
    stated = recipe.data.mean is not None
    lines = _stated(recipe) if stated else _tried(recipe, file, path.parent, events)
    written = text(json.dumps(recipe.data.image_size), lines)
    from_text(written, path, overrides)
    starter.write_new(path, written)


def _stated(recipe: Recipe) -> tuple[str, str]:
    """The lines on what the command states."""
    mean, std = json.dumps(recipe.data.mean), json.dumps(recipe.data.std)
    return f"  mean: {mean} # as stated\n  std: {std}\n", _keywords(recipe, {})


def _keywords(recipe: Recipe, more: dict[str, str]) -> str:
    given = {**recipe.student.model_kwargs, **more}
    return f"  model_kwargs: {json.dumps(given)}\n" if given else ""


def _tried(recipe: Recipe, file: Path, runs: Path, events: Events) -> tuple[str, str]:
    """The lines on the convention that fits best."""
    from tmkd_deploy.models.onnx_import.convert import convert
    from tmkd_deploy.pipeline.pixel_conventions import best_convention
    from tmkd_deploy.pipeline.run import run
    from tmkd_deploy.records.types import height_and_width

    size = height_and_width(recipe.data.image_size)
    converted = convert(file, *size, output=_output(recipe))  # before the images are read
    done = run(recipe, runs=runs, goal="prepare", targets=None, events=events)
    prepared = artifacts.read(done.folder / "prepare", "prepare", DataRecord)
    order = recipe.student.model_kwargs.get("channel_order")
    bgr = None if order is None else order == "bgr"
    best = best_convention(converted, PreparedData.load(prepared), events, bgr)
    mean, std = (json.dumps([round(each, 6) for each in values]) for values in best.normalisation)
    lines = (
        f"  mean: {mean} # of the usual conventions the one that fits: {best.sentence}\n"
        f"  std: {std}\n"
    )
    return lines, _keywords(recipe, {"channel_order": "bgr"} if best.bgr else {})


def _output(recipe: Recipe) -> str | None:
    found = recipe.student.model_kwargs.get("output")
    return found if isinstance(found, str) else None


def _refuse_another(path: Path, file: Path, data: Path | None) -> None:
    recipe = load(path)
    same = Path(recipe.student.model) == file.resolve()
    if data is not None and recipe.data.path is not None:
        same = same and recipe.data.path == data.resolve()
    if not same:
        raise RequestError(
            "This recipe is for another ONNX file or other images.",
            where=str(path),
            advice="Delete it, or name another folder of runs with --runs. To go on with it: "
            f"{shlex.join(['tmkd-deploy', 'run', str(path), '--runs', str(path.parent)])}",
        )
