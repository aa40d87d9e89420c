"""Imports run downwards only, and a device needs no more than it has."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from importlinter.cli import lint_imports

import tmkd_deploy

PACKAGE = Path(tmkd_deploy.__file__).parent
PROJECT = Path(__file__).parents[2]


# What runs on a device: its files, what they may take from this package, and from elsewhere.
ALSO_ON_DEVICES = {
    f"tmkd_deploy.runtime.{file.stem}"
    for pattern in (
        *("*_session.py", "cuda_*.py", "engine_errors.py", "engine_machine.py", "gpu_access.py"),
        *("installed_engines.py", "onnx_check.py", "onnx_metadata.py", "protobuf.py"),
        *("regular_file.py", "runtimes.py", "session_options.py", "tensorrt_library.py"),
    )
    for file in (PACKAGE / "runtime").glob(pattern)
}
ON_DEVICES = (
    *sorted((PACKAGE / "agent").rglob("*.py")),
    *sorted(PACKAGE.parent / f"{name.replace('.', '/')}.py" for name in ALSO_ON_DEVICES),
)
OF_DEVICES = {
    *sys.stdlib_module_names,
    "numpy",
    "onnxruntime",
    "openvino",
    "tensorrt",
    "tensorrt_rtx",
}


def package_of(module: str) -> str:
    """`tmkd_deploy.cli.main` to `cli`; the package itself to `__init__`."""
    _, _, inside = module.partition(".")
    return inside.partition(".")[0] or "__init__"


def imported(file: Path) -> Iterator[str]:
    """Every module that `file` imports, wherever in it."""
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file} imports relatively, which hides where it leads"
            yield from _modules(node)


def _modules(node: ast.ImportFrom) -> Iterator[str]:
    assert node.module is not None
    for alias in node.names:
        inside = f"{node.module}.{alias.name}"
        place = PACKAGE.parent / inside.replace(".", "/")
        is_module = place.is_dir() or place.with_suffix(".py").is_file()
        yield inside if is_module else node.module


def test_imports_run_downwards() -> None:
    """The levels are those of `tool.importlinter` in pyproject.toml; there are no exemptions."""
    contract = PROJECT / "pyproject.toml"
    assert "ignore_imports" not in contract.read_text(encoding="utf-8")
    assert lint_imports(config_filename=str(contract), no_cache=True) == 0


@pytest.mark.parametrize("file", ON_DEVICES, ids=lambda f: f.name)
def test_the_agent_imports_what_a_device_has(file: Path) -> None:
    for module in imported(file):
        top = module.split(".")[0]
        own = top == "tmkd_deploy" and (package_of(module) == "agent" or module in ALSO_ON_DEVICES)
        assert own or top in OF_DEVICES, f"{file} imports {module}, which a device need not have"


def test_the_agent_suits_the_oldest_python_of_a_device(tmp_path: Path) -> None:
    check = [
        sys.executable,
        "-c",
        "import vermin; vermin.main()",
        "--target=3.8-",
        "--violations",
        "--no-tips",
    ]
    newer = tmp_path / "newer.py"
    newer.write_text("match 1:\n    case 1:\n        print(list(zip([], [], strict=True)))\n")
    for files, passes in ((ON_DEVICES, True), ((newer,), False)):
        done = subprocess.run(
            [*check, *map(str, files)], capture_output=True, text=True, check=False
        )
        assert (done.returncode == 0) is passes, done.stdout
