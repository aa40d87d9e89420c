"""Every target by its name."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

_UNIT = Path(__file__).parents[2] / "unit"
for _room in ("bundle", "report"):  # what their tests make bundles and reports with
    if str(_UNIT / _room) not in sys.path:
        sys.path.append(str(_UNIT / _room))

from fuzzed import bundles, data, devices, files, images, recipes
from fuzzed.target import Target

TARGETS: dict[str, Target] = {
    target.name: target
    for module in (recipes, devices, bundles, images, data, files)
    for target in module.TARGETS
}


def missing(target: Target) -> list[str]:
    """The packages that `target` needs and that are not installed."""
    return [name for name in target.needs if importlib.util.find_spec(name) is None]
