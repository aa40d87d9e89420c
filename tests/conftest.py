"""What tests of several rooms share: small images, and one complete run over them."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parent / "support"))
from project import Done, Project, new_project
from striped_images import write_folder


@pytest.fixture(scope="session")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folders `train` (120 images) and `test` (42); tests leave them as they are."""
    root = tmp_path_factory.mktemp("images")
    write_folder(root / "train", per_class=40, seed=1)
    write_folder(root / "test", per_class=14, seed=2)
    return root


@pytest.fixture(scope="session")
def complete(images: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Project, Done]:
    """The project after one complete run, and how that ended; tests leave it as it is."""
    project = new_project(tmp_path_factory.mktemp("complete"), images)
    return project, project.run("run")


@pytest.fixture
def project(complete: tuple[Project, Done], tmp_path: Path) -> Project:
    """A copy of the complete run that a test may change."""
    finished, done = complete
    assert done.code == 0, done.told
    return finished.copy_to(tmp_path / "project")


@pytest.fixture
def fresh_project(images: Path, tmp_path: Path) -> Project:
    """The same project before any run."""
    return new_project(tmp_path / "fresh", images)


@pytest.fixture
def partial_project(complete: tuple[Project, Done], tmp_path: Path) -> Callable[..., Project]:
    """Makes copies of the complete run that hold the named stages and nothing else."""

    def make(*stages: str) -> Project:
        finished, _ = complete
        partial = Project(tmp_path / "partial")
        partial.folder.mkdir()
        partial.recipe.write_bytes(finished.recipe.read_bytes())
        for stage in stages:
            Project(finished.run_folder / stage).copy_to(partial.run_folder / stage)
        return partial

    return make
