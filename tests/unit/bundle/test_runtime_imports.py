"""The runtime runs where nothing else of the package's dependencies is installed."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import tmkd_deploy.runtime

FILES = sorted(Path(tmkd_deploy.runtime.__file__).parent.glob("**/*.py"))
ALLOWED = set(sys.stdlib_module_names) | {"numpy", "PIL", "onnxruntime", "openvino", "pillow_heif"}


def imported(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "relative imports hide where they lead"
            assert node.module is not None
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def test_there_are_files_to_look_at() -> None:
    assert len(FILES) >= 5


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_nothing_else_is_imported(path: Path) -> None:
    for name in imported(ast.parse(path.read_text(encoding="utf-8"))):
        inside = name.startswith("tmkd_deploy.runtime.")
        assert inside or name.split(".")[0] in ALLOWED, f"{path.name} imports {name}"


def test_importing_it_brings_nothing_heavy() -> None:
    program = "import sys, tmkd_deploy.runtime; print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    modules = set(done.stdout.split())
    assert not modules & {
        "pydantic",
        "yaml",
        "onnxruntime",
        "openvino",
        "onnx",
        "torch",
        "rich",
        "typer",
        "pillow_heif",
    }
    ours = {name for name in modules if name.startswith("tmkd_deploy.")}
    assert all(name.startswith("tmkd_deploy.runtime") for name in ours)
