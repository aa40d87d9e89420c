"""Finding the recipe of a run folder, for the commands that go on with it."""

from __future__ import annotations

import itertools
import shlex
from pathlib import Path

from tmkd_deploy.cli.options import DEFAULT_RECIPE, DEFAULT_RUNS
from tmkd_deploy.errors import RequestError
from tmkd_deploy.recipe.load import read
from tmkd_deploy.yaml_document import parse

_RECIPES_AT_MOST = 200


def arguments(run: Path) -> str:
    """The recipe and --runs of the run folder `run`, quoted for a shell.

    The recipe is the one in this folder or in recipes/ that names the run; RECIPE where none does.
    """
    run = run if run.name else run.resolve()
    found = [each for each in _recipes() if _name(each) == run.name]
    words = [str(found[0])] if found else ["RECIPE"]
    if words == [str(DEFAULT_RECIPE)]:
        words = []
    if run.parent.resolve() != DEFAULT_RUNS.resolve():
        words += ["--runs", str(run.parent)]
    return shlex.join(words)


def _recipes() -> list[Path]:
    elsewhere = itertools.chain(Path().glob("*.y*ml"), Path("recipes").glob("*.y*ml"))
    others = sorted(itertools.islice(elsewhere, _RECIPES_AT_MOST))
    return [DEFAULT_RECIPE, *others] if DEFAULT_RECIPE.exists() else others


def _name(recipe: Path) -> object:
    try:
        value = parse(read(recipe), str(recipe)).value
    except RequestError:  # it is no recipe
        return None
    return value.get("name") if isinstance(value, dict) else None
