"""A recipe written out with every default visible."""

from __future__ import annotations

import yaml

from tmkd_deploy.recipe.schema import Recipe
from tmkd_deploy.yaml_document import FLOAT, FLOAT_FIRST, TAG


class _Dumper(yaml.SafeDumper):
    """Puts text in quotes where reading it back would make something else of it."""


def _text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    # Only double quotes escape what YAML takes for a line break, such as U+0085.
    return dumper.represent_scalar(TAG + "str", text, None if text.isprintable() else '"')


_Dumper.add_implicit_resolver(TAG + "float", FLOAT, FLOAT_FIRST)  # 1e-3, which YAML 1.1 calls text
_Dumper.add_representer(str, _text)


def to_yaml(recipe: Recipe) -> str:
    """YAML that loads back to the same recipe."""
    return yaml.dump(
        recipe.model_dump(mode="json"), Dumper=_Dumper, sort_keys=False, allow_unicode=True
    )
