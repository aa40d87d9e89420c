"""The code that a stage runs, found by following imports rather than kept in a list.

Everything a module imports counts, at its top or inside a function, and so does everything that
those modules import. Imports for type checkers alone do not count, because they never run.
"""

from __future__ import annotations

import ast
import functools
import hashlib
from collections.abc import Iterator
from pathlib import Path

import tmkd_deploy

PACKAGE = Path(tmkd_deploy.__file__).parent


@functools.cache
def code_hash(module: str, package: Path = PACKAGE) -> str:
    """A SHA-256 over all files that `module` can reach; see `reachable_files`."""
    digest = hashlib.sha256()
    for path in reachable_files(module, package):
        digest.update(path.relative_to(package).as_posix().encode() + b"\0")
        digest.update(path.read_bytes() + b"\0")
    return digest.hexdigest()


@functools.cache
def reachable_files(module: str, package: Path = PACKAGE) -> tuple[Path, ...]:
    """The files of `package` whose change can change what `module` does, in a fixed order.

    These are the modules of its import closure, their packages' `__init__` files, and the data
    files beside them, such as prompts and templates.

    Args:
        module: a dotted name that begins with the package's own, such as
            "tmkd_deploy.pipeline.stages.gate".
        package: the folder of the package.
    """
    files: set[Path] = set()
    waiting = [module]
    while waiting:
        name = waiting.pop()
        for path in _files_of(name, package):
            if path not in files:
                files.add(path)
                waiting.extend(_imports(path, package))
    data = {file for folder in {path.parent for path in files} for file in _data_files(folder)}
    return tuple(sorted(files | data))


def _files_of(module: str, package: Path) -> Iterator[Path]:
    """The file of a module and the `__init__` files that Python runs on the way to it."""
    folder = package.parent
    for part in module.split("."):
        folder = folder / part
        if (folder / "__init__.py").is_file():
            yield folder / "__init__.py"
    if folder.with_suffix(".py").is_file():
        yield folder.with_suffix(".py")


@functools.cache
def _imports(path: Path, package: Path) -> tuple[str, ...]:
    """The modules of `package` that a file imports."""
    found: list[str] = []
    waiting: list[ast.AST] = [ast.parse(path.read_bytes(), path.name)]
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            # a name may be a module of its own or something within the module
            found += [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        if isinstance(node, ast.If) and _is_type_checking(node.test):
            waiting.extend(node.orelse)
        elif not isinstance(node, ast.expr):
            waiting.extend(ast.iter_child_nodes(node))
    return tuple(name for name in found if name.split(".")[0] == package.name)


def _is_type_checking(test: ast.expr) -> bool:
    return isinstance(test, ast.Name) and test.id == "TYPE_CHECKING"


def _data_files(folder: Path) -> Iterator[Path]:
    """Files that are not code, in a package's folder and in those of its folders without code."""
    for path in folder.iterdir():
        if path.is_dir():
            if path.name != "__pycache__" and not (path / "__init__.py").exists():
                yield from _data_files(path)
        elif path.suffix not in (".py", ".pyc"):
            yield path
