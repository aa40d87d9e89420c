"""The recipe as a report shows it."""

from __future__ import annotations

from pathlib import PurePath

from tmkd_deploy.recipe.load import MODELS, PATHS, WEIGHTS
from tmkd_deploy.recipe.schema import Recipe
from tmkd_deploy.yaml_document import to_yaml


def recipe_text(recipe: Recipe) -> str:
    """The resolved recipe as YAML, with the last part of each absolute path alone.

    Reports are shared, and folders name users and machines.
    """
    values = recipe.model_dump(mode="json")
    for *sections, key in (*PATHS, *WEIGHTS, *MODELS):
        section = values
        for name in sections:
            section = section[str(name)]
        given = section[str(key)]
        if given is not None and PurePath(given).is_absolute():
            section[str(key)] = PurePath(given).name
    return to_yaml(values)
