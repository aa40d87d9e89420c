"""Static imports lead from the agent's entry point to every one of its modules.

Stage fingerprints are derived from import closures; a module that is only started by name, as a
program, would be left out of them.
"""

from __future__ import annotations

import ast
from pathlib import Path

import grimp
import pytest

from tmkd_deploy.agent import __main__

AGENT = "tmkd_deploy.agent"
FOLDER = Path(__main__.__file__).parent


@pytest.fixture(scope="module")
def graph() -> grimp.ImportGraph:
    return grimp.build_graph("tmkd_deploy", cache_dir=None)


def modules() -> set[str]:
    found = set()
    for path in FOLDER.rglob("*.py"):
        parts = path.relative_to(FOLDER).with_suffix("").parts
        found.add(".".join([AGENT, *(part for part in parts if part != "__init__")]))
    return found


def test_every_module_is_imported_from_the_entry_point(graph: grimp.ImportGraph) -> None:
    entry = f"{AGENT}.__main__"
    reachable = {entry, *graph.find_upstream_modules(entry)}
    # importing a module runs the `__init__.py` of each package above it
    packages = {name.rpartition(".")[0] for name in reachable}
    assert modules() - reachable - packages - {AGENT} == set()


def test_each_package_has_a_docstring() -> None:
    for path in FOLDER.rglob("__init__.py"):
        assert ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))), path


def test_nothing_is_imported_by_a_name_that_is_computed(graph: grimp.ImportGraph) -> None:
    for path in FOLDER.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Attribute):
                assert node.attr != "import_module", path
            if isinstance(node, ast.Name):
                assert node.id != "__import__", path
