"""What really runs in each stage lies within the code that its fingerprint covers."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
from project import Project

from tmkd_deploy.code_hash import PACKAGE, reachable_files
from tmkd_deploy.pipeline.stage_graph import STAGES

# Runs the pipeline in one process and notes the file of every function of the package called
# while a stage is at work. Children, which decode images where there are many, are not seen.
DRIVER = """
import json, sys, threading
from pathlib import Path
from tmkd_deploy.code_hash import PACKAGE
from tmkd_deploy.events import SilentEvents
from tmkd_deploy.pipeline.stage_graph import STAGES
from tmkd_deploy.pipeline.run import run
from tmkd_deploy.recipe.load import load

called, inside = {}, str(PACKAGE)

def watched(stage):
    original = stage.run
    def run(self, job):
        files = called.setdefault(stage.name, set())
        def note(frame, event, argument):  # returns None, so that no line of a call is traced
            if frame.f_code.co_filename.startswith(inside):
                files.add(frame.f_code.co_filename)
        sys.settrace(note)
        threading.settrace(note)
        try:
            return original(self, job)
        finally:
            sys.settrace(None)
            threading.settrace(None)
    return run

for stage in STAGES.values():
    stage.run = watched(stage)
recipe = load(Path("recipe.yaml"), sys.argv[1:])
options = dict(runs=Path("runs"), targets=["cpu"], events=SilentEvents())
for goal in ("report", "sensitivity"):
    run(recipe, goal=goal, **options)
print(json.dumps({stage: sorted(files) for stage, files in called.items()}))
"""
QUICK = (
    *("teacher.visual.epochs=1", "teacher.text.epochs=1", "distill.epochs=1"),
    *("quantize.epochs=1", "quantize.compare=[post_training]", "distill.weak_teacher=warn"),
)


@pytest.fixture(scope="module")
def called(images, tmp_path_factory) -> dict[str, list[str]]:
    from project import new_project

    project: Project = new_project(tmp_path_factory.mktemp("watched") / "project", images)
    done = subprocess.run(
        [sys.executable, "-c", DRIVER, *QUICK],
        cwd=project.folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def test_every_stage_was_watched(called) -> None:
    assert set(called) == set(STAGES)
    assert all(files for files in called.values())


@pytest.mark.parametrize("stage", sorted(STAGES))
def test_a_stage_runs_no_code_beyond_its_fingerprint(called, stage: str) -> None:
    # progress and messages go to whoever listens; they change no result
    listeners = {str(PACKAGE / "events.py")}
    covered = {str(path) for path in reachable_files(STAGES[stage].__module__)}
    assert set(called[stage]) <= covered | listeners
