"""One warm Python, and the run that nothing disturbed."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import pytest
from project import Done, Project, warm_python

sys.path.append(str(Path(__file__).parent))
from commands import RUN, Warm

pytest.importorskip("torch")
needs_proc = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks into /proc")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """All of these tests look into /proc."""
    for item in items:
        if item.path.is_relative_to(Path(__file__).parent):
            item.add_marker(needs_proc)


@pytest.fixture
def warm() -> Warm:
    """Runs commands without importing torch for each."""
    return warm_python()


@pytest.fixture(scope="package")
def undisturbed(
    complete: tuple[Project, Done], tmp_path_factory: pytest.TempPathFactory
) -> Project:
    """The project after `RUN`, made by commands that nothing disturbed; tests leave it as it is."""
    finished, done = complete
    assert done.code == 0, done.told
    project = finished.copy_to(tmp_path_factory.mktemp("undisturbed") / "project")
    warm = warm_python()
    ended = warm.run(project, *RUN, "--json")
    assert ended.code == 0, ended.told
    made = {project.folder / stage["folder"] for stage in ended.json()["stages"]}
    for manifest in list(project.run_folder.rglob("manifest.json")):
        if manifest.parent not in made:  # of another target
            shutil.rmtree(manifest.parent)
    again = warm.run(project, *RUN, "--json")  # for a report without the other target's verdict
    assert again.code == 0, again.told
    return project
