"""The architecture page shows the levels that are enforced, and names files that exist."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs/explanation/architecture.md").read_text(encoding="utf-8")


def test_the_committed_picture_is_up_to_date() -> None:
    spec = importlib.util.spec_from_file_location("draw_levels", ROOT / "docs/draw_levels.py")
    assert spec and spec.loader
    drawing = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(drawing)
    redraw = "Run: python docs/draw_levels.py"
    assert drawing.PICTURE.read_text(encoding="utf-8") == drawing.draw(), redraw
    assert all(drawing.purpose(name) for row in drawing.levels() for name in row)


@pytest.mark.parametrize("name", sorted(set(re.findall(r"`([a-z_]+/[a-z_/]+\.py)`", PAGE))))
def test_files_that_the_page_names_exist(name: str) -> None:
    assert (ROOT / "tmkd_deploy" / name).is_file() or (ROOT / name).is_file()


@pytest.mark.parametrize("name", sorted(set(re.findall(r"`([a-z_]+)/`", PAGE))))
def test_packages_that_the_page_names_exist(name: str) -> None:
    assert (ROOT / "tmkd_deploy" / name / "__init__.py").is_file()
