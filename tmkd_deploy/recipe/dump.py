"""A recipe written out with every default visible."""

from __future__ import annotations

import yaml

from tmkd_deploy.recipe.document import FLOAT, FLOAT_FIRST, TAG
from tmkd_deploy.recipe.schema import Recipe


class _Dumper(yaml.SafeDumper):
    """Puts text in quotes where this package's reader would take it for a number, such as 1e-3."""


_Dumper.add_implicit_resolver(TAG + "float", FLOAT, FLOAT_FIRST)


def to_yaml(recipe: Recipe) -> str:
    """YAML that loads back to the same recipe."""
    return yaml.dump(
        recipe.model_dump(mode="json"), Dumper=_Dumper, sort_keys=False, allow_unicode=True
    )
