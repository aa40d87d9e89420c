"""Draws docs/assets/levels.svg, the levels that imports run through, as text and boxes.

The levels are those of the contract in pyproject.toml that `make lint` enforces, the words the
first lines of the packages' docstrings: `python docs/draw_levels.py`.
"""

from __future__ import annotations

import ast
import sys
from html import escape
from pathlib import Path

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).parents[1]
PICTURE = ROOT / "docs/assets/levels.svg"

WIDTH, LINE, GAP, MARGIN = 860, 20, 8, 12
STYLE = """
  svg { font: 14px system-ui, sans-serif; }
  rect { fill: #eef2ff; stroke: #9fa8da; }
  text { fill: #1a237e; dominant-baseline: central; }
  .name { font-weight: 600; }
  path { fill: none; stroke: #3949ab; stroke-width: 2; }
"""


def levels() -> list[list[str]]:
    """The packages and modules of each level, from top to bottom."""
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    (contract,) = settings["tool"]["importlinter"]["contracts"]
    return [[name.strip() for name in layer.split("|")] for layer in contract["layers"]]


def purpose(name: str) -> str:
    """The first line of a package's or module's docstring."""
    place = ROOT / "tmkd_deploy" / name
    path = place / "__init__.py" if place.is_dir() else place.with_suffix(".py")
    text = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
    return text.partition("\n")[0]


def draw() -> str:
    """The picture as SVG; the same code gives the same text."""
    boxes: list[str] = []
    top = MARGIN
    for row in levels():
        height = LINE * len(row) + 2 * GAP
        boxes.append(
            f'<rect x="44" y="{top}" width="{WIDTH - 44 - MARGIN}" height="{height}" rx="5"/>'
        )
        for line, name in enumerate(row):
            y = top + GAP + LINE * line + LINE // 2
            boxes.append(f'<text class="name" x="60" y="{y}">{escape(name)}</text>')
            boxes.append(f'<text x="200" y="{y}">{escape(purpose(name))}</text>')
        top += height + GAP
    bottom = top - GAP
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {bottom + MARGIN}" '
            'role="img" aria-label="The packages by level: each imports from those below">',
            f"<style>{STYLE}</style>",
            f'<path d="M22 {MARGIN}V{bottom - 2}m-6 -10l6 10l6 -10"/>',
            *boxes,
            "</svg>",
            "",
        ]
    )


if __name__ == "__main__":
    PICTURE.parent.mkdir(parents=True, exist_ok=True)
    PICTURE.write_text(draw(), encoding="utf-8")
