"""The tables of docs/reference/recipe.md say what the schema says."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

DOCS = Path(__file__).parents[2] / "docs"


@pytest.fixture(scope="module")
def generator() -> ModuleType:
    script = DOCS / "generate_recipe_reference.py"
    specification = importlib.util.spec_from_file_location(script.stem, script)
    assert specification is not None and specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


def test_the_committed_tables_are_up_to_date(generator: ModuleType) -> None:
    page = generator.PAGE.read_text(encoding="utf-8")
    assert page == generator.refreshed(page), "run: python docs/generate_recipe_reference.py"


def test_tables_are_replaced_and_the_text_around_them_stays(generator: ModuleType) -> None:
    page = f"above\n{generator.BEGIN}\nstale\n{generator.END}\nbelow\n"
    fresh = generator.refreshed(page)
    assert fresh.startswith("above\n") and fresh.endswith("\nbelow\n")
    assert "stale" not in fresh
    assert "| `epochs` | whole number, at least 0 | `30` |" in fresh
