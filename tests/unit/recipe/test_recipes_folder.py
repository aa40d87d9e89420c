"""Every recipe that is given as a start is sound: its keys, its models, their tags."""

from pathlib import Path

import pytest

from tmkd_deploy.recipe.check import check
from tmkd_deploy.recipe.load import load

RECIPES = sorted((Path(__file__).parents[3] / "recipes").glob("**/*.yaml"))


def test_the_recipes_are_found():
    names = {path.stem for path in RECIPES}
    assert names >= {"quickstart", "industrial-folder", "cifar100-resnet20", "imagenet-mobilenetv4"}


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_a_recipe_is_sound(path):
    notes = check(load(path))
    # data and weights are the user's; a name that nobody knows would have raised
    assert all("does not exist" in note for note in notes)
