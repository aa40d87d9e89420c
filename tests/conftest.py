"""How the tests are spread over the cores, and what they share: images and one complete run."""

from __future__ import annotations

import dataclasses
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path

# Before torch is imported, here or in a command: the networks are tiny and the cores are taken.
os.environ.setdefault("OMP_NUM_THREADS", "1")
# Every process of the tests is a machine of its own to the lock of devices.
os.environ["TMKD_DEPLOY_LOCK_NAME"] = f"tmkd-deploy-tests-{os.getpid()}"

import pytest
from hypothesis import HealthCheck, settings

sys.path.append(str(Path(__file__).parent / "support"))
from made_once import made_once
from project import Done, Project, new_project
from striped_images import write_folder

TESTS = Path(__file__).parent
settings.register_profile(
    "on any machine, however slow", deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("on any machine, however slow")

# A worker takes a whole file at a time. Short ones come last, so that no core is idle at the end.
LONGEST = (
    "test_chain.py",
    "test_bad_input.py",
    "test_bad_input_interrupts.py",
    "test_processes_and_kills.py",
    "test_kills.py",
    "test_disks.py",
    "test_code_that_runs.py",
)
MOST_WORKERS = 4  # each takes 2 GB, the commands that it runs included
WAITING = 1  # worker more than cores, because many tests wait for a device or a process


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """A worker per core and one more for the whole suite; named tests run in this process."""
    whole = config.args_source is pytest.Config.ArgsSource.TESTPATHS
    cores = len(os.sched_getaffinity(0))
    return min(cores + WAITING, MOST_WORKERS) if whole and cores > 1 else 0


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Unit tests first; then the complete run is made, while other workers do without it."""
    needs_run = {item.path for item in items if "complete" in getattr(item, "fixturenames", ())}

    def turn(item: pytest.Item) -> int:
        if item.path.is_relative_to(TESTS / "unit"):
            return 0
        if item.path.name == LONGEST[0]:
            return 1
        if item.path not in needs_run:
            return 2
        return 3 if item.path.name in LONGEST else 4

    items.sort(key=turn)


@pytest.fixture(scope="session")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folders `train` (120 images) and `test` (42); tests leave them as they are."""

    def make(root: Path) -> None:
        write_folder(root / "train", per_class=40, seed=1)
        write_folder(root / "test", per_class=14, seed=2)

    return made_once("images", tmp_path_factory, make)


@pytest.fixture(scope="session")
def complete(images: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Project, Done]:
    """The project after one complete run, and how that ended; tests leave it as it is."""

    def make(root: Path) -> None:
        done = new_project(root / "project", images).run("run")
        (root / "done.json").write_text(json.dumps(dataclasses.asdict(done)), encoding="utf-8")

    root = made_once("complete", tmp_path_factory, make)
    done = Done(**json.loads((root / "done.json").read_text(encoding="utf-8")))
    return Project(root / "project"), done


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
