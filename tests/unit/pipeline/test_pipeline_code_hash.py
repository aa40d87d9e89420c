"""A stage is stale once any module that it can reach has changed, and only then."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import grimp
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tmkd_deploy.code_hash import PACKAGE, code_hash, reachable_files
from tmkd_deploy.pipeline.mixed_precision_search import MixedPrecision, Trial
from tmkd_deploy.pipeline.stage_graph import STAGES

ALL_STAGES = [*STAGES.values(), Trial, MixedPrecision]
STAGE_MODULES = sorted({stage.__module__ for stage in ALL_STAGES})
MODULES = sorted(PACKAGE.rglob("*.py"))
NAMES = [path.relative_to(PACKAGE).as_posix() for path in MODULES]


@cache
def reachable_by_grimp(stage: str) -> frozenset[str]:
    """The closure as another library finds it, with the packages that Python runs on the way."""
    graph = grimp.build_graph("tmkd_deploy", exclude_type_checking_imports=True, cache_dir=None)
    found: set[str] = set()
    waiting = [stage]
    while waiting:
        name = waiting.pop()
        if name not in found:
            found.add(name)
            waiting += graph.find_modules_directly_imported_by(name)
            if "." in name:
                waiting.append(name.rpartition(".")[0])
    return frozenset(_file_of(name) for name in found)


def _file_of(module: str) -> str:
    inside = Path(*module.split(".")[1:])
    if (PACKAGE / inside).is_dir():
        return (inside / "__init__.py").as_posix()
    return inside.with_suffix(".py").as_posix()


@pytest.mark.parametrize("stage", STAGE_MODULES)
def test_the_modules_that_count_are_those_in_the_import_closure(stage: str) -> None:
    found = {path.relative_to(PACKAGE).as_posix() for path in reachable_files(stage)}
    assert {name for name in found if name.endswith(".py")} == reachable_by_grimp(stage)


@pytest.fixture(scope="module")
def copied(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A copy of the package whose files may be changed."""
    package = tmp_path_factory.mktemp("copy") / "tmkd_deploy"
    shutil.copytree(PACKAGE, package, ignore=shutil.ignore_patterns("__pycache__"))
    yield package


@settings(max_examples=200, deadline=None)
@given(stage=st.sampled_from(STAGE_MODULES), changed=st.sampled_from(NAMES))
def test_a_change_counts_where_the_stage_can_reach_it(
    copied: Path, stage: str, changed: str
) -> None:
    path = copied / changed
    before, original = code_hash.__wrapped__(stage, copied), path.read_bytes()
    path.write_bytes(original + b"# changed\n")
    try:
        stale = code_hash.__wrapped__(stage, copied) != before
    finally:
        path.write_bytes(original)
    assert stale is (changed in reachable_by_grimp(stage))


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    """A package of few lines, with every way to import."""
    package = tmp_path / "tiny"
    files = {
        "__init__.py": "",
        "start.py": "import tiny.plain\nfrom tiny import by_name\nfrom tiny.inner.deep import it\n"
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import tiny.typing_only\n"
        "else:\n    import tiny.at_run_time\n",
        "plain.py": "def late():\n    import tiny.within_a_function\n",
        "within_a_function.py": "import os\n",
        "by_name.py": "class A:\n    try:\n        from tiny.in_a_class import x\n"
        "    except ImportError:\n        pass\n",
        "in_a_class.py": "from tiny import start\nx = 1\n",
        "at_run_time.py": "",
        "inner/__init__.py": "from tiny import by_package\n",
        "inner/deep.py": "it = 1\n",
        "inner/beside.txt": "data",
        "inner/texts/more.txt": "data",
        "by_package.py": "",
        "typing_only.py": "",
        "unused.py": "import tiny.start\n",
        "unused/__init__.py": "",
        "other/__init__.py": "",
        "other/data.txt": "",
    }
    for name, text in files.items():
        path = package / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return package


def test_every_way_to_import_is_followed_and_data_files_count(tiny: Path) -> None:
    found = {path.relative_to(tiny).as_posix() for path in reachable_files("tiny.start", tiny)}
    assert found == {
        *("__init__.py", "start.py", "plain.py", "within_a_function.py", "by_name.py"),
        *("in_a_class.py", "at_run_time.py", "by_package.py", "inner/__init__.py"),
        *("inner/deep.py", "inner/beside.txt", "inner/texts/more.txt"),
    }


def test_a_removed_module_counts_as_a_change(tiny: Path) -> None:
    before = code_hash.__wrapped__("tiny.start", tiny)
    (tiny / "by_package.py").unlink()
    reachable_files.cache_clear()
    assert code_hash.__wrapped__("tiny.start", tiny) != before
